"""The shipped rules compute what the simulation of drift computes, so that its figures are those of the alerts."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from benchmarks import drift
from tests.support import alert_rules

from fairlead_runtime.model.reference_statistics import CLASS, SCORE
from fairlead_runtime.model.row_features import FEATURES_MAX

REFERENCE = (70, 72, 68, 75, 71, 3)
PER_MINUTE = (4, 9, 5, 3, 2, 0)
LABELS = 'namespace="shop",model="digits",revision="r"'
FEATURE = "input0_mean"


def series(replicas: int) -> list[dict[str, str]]:
    """The rows of each bin, of replicas that have the same share of them."""
    found = []
    for replica in range(replicas):
        for index, (known, rows) in enumerate(zip(REFERENCE, PER_MINUTE, strict=True)):
            labels = f'{{{LABELS},feature="{FEATURE}",replica="r-{replica}",bin="{index:02}"}}'
            found += [
                {"series": f"fairlead_replica_reference_rows{labels}", "values": f"{known}+0x1600"},
                {"series": f"fairlead_replica_sampled_rows_total{labels}", "values": f"0+{rows / replicas}x1600"},
            ]
    return found


def is_about(record: str, window: str, value: float, *, at: str) -> dict[str, Any]:
    """A question of promtool: whether a recorded series has this value but for a part in a thousand."""
    selected = f'{record}{{feature="{FEATURE}"' + (f',window="{window}"}}' if window else "}")
    expr = f"sum(abs({selected} - {value!r}) < bool {abs(value) / 1000!r})"
    return {"expr": expr, "eval_time": at, "exp_samples": [{"labels": "{}", "value": 1}]}


@pytest.mark.parametrize(
    ("window", "minutes", "at", "replicas"), [("1h", 60, "90m", 1), ("1h", 60, "90m", 2), ("1d", 1440, "26h30m", 2)]
)
def test_the_rules_and_the_simulation_agree(tmp_path: Path, window: str, minutes: int, at: str, replicas: int) -> None:
    reference, counts = np.array(REFERENCE), np.array(PER_MINUTE) * minutes
    bins, rows = len(reference), int(counts.sum())
    live, known = np.maximum(counts / rows, 1e-4), np.maximum(reference / reference.sum(), 1e-4)
    values = {
        "fairlead:drift:distance": 0.5 * np.abs(counts / rows - reference / reference.sum()).sum(),
        "fairlead:drift:psi": ((live - known) * np.log(live / known)).sum(),
        "fairlead:drift:sampling_error": drift.sampling_error(np.array(rows), bins),
        "fairlead:drift:proved": drift.proved(counts[None], reference)[0],
    }
    asked = [is_about(name, window, float(value), at=at) for name, value in values.items()]
    error = drift.reference_error(int(reference.sum()), bins)
    asked.append(is_about("fairlead:drift:reference_error", "", error, at=at))
    done = alert_rules.run_cases(
        tmp_path, [{"interval": "1m", "input_series": series(replicas), "promql_expr_test": asked}]
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_error_of_the_reference_is_shared_by_all_features_of_a_revision() -> None:
    groups = {group["name"]: group for group in yaml.safe_load(alert_rules.RULES.read_text())["groups"]}
    rules = {rule.get("record"): rule["expr"] for rule in groups["fairlead.drift"]["rules"]}
    found = re.match(r"sqrt\(\(([\d.]+) \+ ", rules["fairlead:drift:reference_error"])
    assert found is not None
    features = [*range(FEATURES_MAX), SCORE, CLASS]
    assert float(found[1]) == pytest.approx(math.log(len(features) / 0.001), abs=0.01)


def test_the_margin_and_the_interval_are_those_of_the_simulation() -> None:
    groups = {group["name"]: group for group in yaml.safe_load(alert_rules.RULES.read_text())["groups"]}
    assert groups["fairlead.drift"]["interval"] == "1m"
    alerts = {
        rule["alert"]: rule["expr"] for rule in groups["fairlead.drift"]["rules"] if "Drift" in rule.get("alert", "")
    }
    assert set(alerts) == {"FairleadInputDrift", "FairleadScoreDrift"}
    assert {expr.rpartition(" > ")[2].strip() for expr in alerts.values()} == {str(drift.MARGIN)}
    assert json.dumps(alerts).count("fairlead:drift:proved") == len(alerts)
