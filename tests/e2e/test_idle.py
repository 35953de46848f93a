"""Nothing to do means nothing written."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest
from tests.e2e.measured import RESULTS
from tests.e2e.stage import Stage
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
WATCHED_S = 60.0
OURS = ("system:serviceaccount:fairlead-system:fairlead-operator", "system:serviceaccount:models:fairlead-gateway")


@pytest.mark.nightly
def test_idle_models_cause_no_write_for_a_minute(stage: Stage) -> None:
    with stage.deployed("idle") as first, stage.deployed("idler") as second:
        first.until_settled()
        second.until_settled()
        begins_at = stage.local.audit_log.stat().st_size
        since_s = time.monotonic()
        until(lambda: time.monotonic() - since_s >= WATCHED_S, "a minute passed", deadline_s=WATCHED_S + 10)
        with stage.local.audit_log.open() as log:
            log.seek(begins_at)
            written = [json.loads(line) for line in log]
    ours = Counter(
        (event["verb"], event["objectRef"]["resource"]) for event in written if event["user"]["username"] in OURS
    )
    leases = ours.pop(("update", "leases"), 0)
    RESULTS.add(
        "Idle", {"seconds": WATCHED_S, "models": 2, "writes": sum(ours.values()), "writes of the Lease": leases}
    )
    assert leases > 0, "the audit log shows nothing at all, so it proves nothing"
    assert ours == Counter()
