"""A version that takes another input never answers a request that was meant for the old one, unless it is allowed."""

from __future__ import annotations

import pathlib

import pytest
from examples import digest
from tests.e2e import wider
from tests.e2e.asking import fairlead
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_operator
from tests.e2e.stage import Stage, condition
from tests.support import request_counts

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(10_000)


def test_a_changed_input_is_held_before_its_first_request_until_the_spec_allows_it(
    stage: Stage, tmp_path: pathlib.Path
) -> None:
    other = wider.make(tmp_path / "wider")
    with stage.deployed("contract") as model:
        stable = model.stable
        source = {"uri": other.as_uri(), "digest": digest.hash_path(other)}
        with counted(model) as run:
            model.apply("v1", label="wider", model=source)
            found = model.until("held", lambda found: condition(found, "Stalled").get("reason") == "SignatureChanged")
            candidate = found["status"]["candidateRevision"]
            changes = found["status"]["rollout"]["signatureChanges"]
            kill_operator(stage.local)
            # The next operator waits for the Lease of the dead one, so the answer may come after the plugin went.
            fairlead(stage, "promote", model, "--full")
            answered = model.until("answered", lambda found: "handledRequest" in found["status"])
            answer = answered["status"]["handledRequest"]
            assert answer["outcome"] == "Refused"
            assert "is not compatible with" in answer["message"]
            run.wait_until(lambda seen: seen.requests > REQUESTS, timeout_s=300)
            report = run.stop()
        require_no_failures(report)
        RESULTS.add(
            "A candidate that breaks the signature contract",
            {
                "requests": report.requests,
                "failed": report.failed,
                "to the candidate": len(set(report.revisions) - {stable}),
            },
        )
        assert set(report.revisions) == {stable}
        assert any("80]" in each for each in changes), changes
        assert condition(found, "Stalled")["status"] == "True"
        assert found["status"]["phase"] == "Paused"
        assert any(reason == "SignatureChanged" for reason, _ in model.events())
        model.apply("v1", label="wider", model=source, rollout={"allowSignatureChange": True})
        model.until_settled(other_than=stable)
        assert model.stable == candidate
