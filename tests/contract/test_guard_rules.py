"""The shipped rules compute what the simulation of guards computes, so that its figures are those of the alert."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from benchmarks import guards as simulated
from tests.support import alert_rules

from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import guard_checks

LABELS = 'namespace="shop",model="digits",revision="r",guard="Range"'


def is_about(record: str, value: float) -> dict[str, Any]:
    """A question of promtool: whether a recorded series has this value but for a part in a thousand."""
    expr = f"sum(abs({record} - {value!r}) < bool {max(1e-6, abs(value) / 1000)!r})"
    return {"expr": expr, "eval_time": "90m", "exp_samples": [{"labels": "{}", "value": 1}]}


@pytest.mark.parametrize("tolerated", [0.01, 0.04])
@pytest.mark.parametrize(("passed", "observed", "rejected"), [(9, 1, 0), (10, 0, 3), (100, 1, 1), (7, 0, 0), (0, 0, 4)])
def test_the_rules_and_the_simulation_agree(
    tmp_path: Path, passed: int, observed: int, rejected: int, tolerated: float
) -> None:
    per_minute = {"passed": passed, "observed": observed, "rejected": rejected}
    rows, found = 60 * sum(per_minute.values()), 60 * (observed + rejected)
    asked = [
        is_about("fairlead:guarded_rows:total", rows),
        is_about("fairlead:guarded_rows:found_share", found / rows),
        is_about("fairlead:guard:evidence", float(simulated.evidence(np.array(found), np.array(rows), tolerated))),
    ]
    # Two replicas, each with half of the rows.
    series = [
        {
            "series": f'fairlead_replica_guarded_rows_total{{{LABELS},replica="r-{replica}",outcome="{outcome}"}}',
            "values": f"0+{count / 2}x120",
        }
        for replica in range(2)
        for outcome, count in per_minute.items()
    ]
    series += [
        {
            "series": f'fairlead_replica_guard_tolerated_share{{{LABELS},replica="r-{each}"}}',
            "values": f"{tolerated}x120",
        }
        for each in range(2)
    ]
    cases = [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]
    done = alert_rules.run_cases(tmp_path, cases, groups={"fairlead.guards"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_bound_is_that_of_the_simulation_and_of_a_thousandth_a_day() -> None:
    groups = {group["name"]: group for group in yaml.safe_load(alert_rules.RULES.read_text())["groups"]}
    assert groups["fairlead.guards"]["interval"] == "1m"
    (alert,) = (rule["expr"] for rule in groups["fairlead.guards"]["rules"] if "alert" in rule)
    bound = simulated.EVIDENCE
    compared = "fairlead:guarded_rows:found_share > fairlead:guard:tolerated_share"
    assert alert == f"{compared} and fairlead:guard:evidence > {bound}"
    assert simulated.TOLERATED == guard_checks.TOLERATED_SHARE
    assert 0 <= bound - math.log(len(Guard) * 24 * 60 / 0.001) < 0.3
