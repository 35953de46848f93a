"""The shipped rules compute what the simulation and the demo compute, so that their figures are those of the alerts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from benchmarks import drift
from tests.support import alert_rules

from fairlead_cli.evaluation import drift_distance
from fairlead_operator.observe import drift as reads
from fairlead_runtime.model.reference_statistics import ATTRIBUTION, CLASS, SCORE
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
        "fairlead:drift:sampling_error": drift_distance.sampling_error(np.array(rows), bins),
        "fairlead:drift:proved": drift_distance.proved(counts[None], reference)[0],
    }
    asked = [is_about(name, window, float(value), at=at) for name, value in values.items()]
    error = drift_distance.reference_error(int(reference.sum()), bins)
    asked.append(is_about("fairlead:drift:reference_error", "", error, at=at))
    cases = [{"interval": "1m", "input_series": series(replicas), "promql_expr_test": asked}]
    done = alert_rules.run_cases(tmp_path, cases, groups={"fairlead.drift"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_error_of_the_reference_is_shared_by_all_features_of_a_revision() -> None:
    groups = {group["name"]: group for group in yaml.safe_load(alert_rules.RULES.read_text())["groups"]}
    rules = {rule.get("record"): rule["expr"] for rule in groups["fairlead.drift"]["rules"]}
    found = re.match(r"sqrt\(\(([\d.]+) \+ ", rules["fairlead:drift:reference_error"])
    assert found is not None
    features = [*range(FEATURES_MAX), SCORE, CLASS, ATTRIBUTION]
    assert float(found[1]) == pytest.approx(math.log(len(features) / 0.001), abs=0.01)


def test_the_margin_and_the_interval_are_those_of_the_simulation() -> None:
    groups = {group["name"]: group for group in yaml.safe_load(alert_rules.RULES.read_text())["groups"]}
    assert groups["fairlead.drift"]["interval"] == "1m"
    alerts = [rule for rule in groups["fairlead.drift"]["rules"] if "Drift" in rule.get("alert", "")]
    names = ("FairleadInputDrift", "FairleadScoreDrift", "FairleadAttributionDrift")
    assert [rule["alert"] for rule in alerts] == [name for name in names for _ in range(2)]
    assert {rule["expr"].rpartition(" > ")[2].strip() for rule in alerts} == {str(drift_distance.MARGIN)}
    assert all(rule["expr"].startswith("fairlead:drift:proved{") for rule in alerts)
    assert [rule["for"] for rule in alerts if 'window="1h"' in rule["expr"]] == ["75m"] * 3, "longer than the window"
    assert [rule["for"] for rule in alerts if 'window="1d"' in rule["expr"]] == ["26h"] * 3, "longer than the window"


def as_trained_but(extra: str, per_minute: int, minutes: int) -> list[dict[str, str]]:
    """Rows as in the reference, and in its last bin also the rows that `extra` counts: values of promtool."""
    parts = []
    for name in ("00", "01"):
        labels = f'{{{LABELS},feature="{FEATURE}",bin="{name}"}}'
        parts += [
            {"series": f'fairlead_replica_reference_rows{labels[:-1]},replica="r-0"}}', "values": f"500+0x{minutes}"},
            {
                "series": f'fairlead_replica_sampled_rows_total{labels[:-1]},replica="r-0"}}',
                "values": f"0+{per_minute}x{minutes}",
            },
        ]
    changed = f'fairlead_replica_sampled_rows_total{{{LABELS},feature="{FEATURE}",bin="01",replica="r-1"}}'
    return [*parts, {"series": changed, "values": extra}]


def firing(at_min: int, *windows: str) -> dict[str, Any]:
    """A test for promtool: the windows for which FairleadInputDrift fires at this minute."""
    expr = 'count by (window) (ALERTS{alertname="FairleadInputDrift",alertstate="firing"})'
    samples = [{"labels": f'{{window="{window}"}}', "value": 1} for window in windows]
    return {"expr": expr, "eval_time": f"{at_min}m", "exp_samples": samples}


def proved(window: str, at_min: int) -> dict[str, Any]:
    """The drift is proved at this minute, so that nothing but the wait keeps the alert from firing."""
    expr = f'count(fairlead:drift:proved{{window="{window}"}} > {drift_distance.MARGIN})'
    return {"expr": expr, "eval_time": f"{at_min}m", "exp_samples": [{"labels": "{}", "value": 1}]}


HOUR, DAY = drift.HOUR_MIN, drift.DAY_MIN


@pytest.mark.parametrize(
    ("series", "asked"),
    [
        pytest.param(
            as_trained_but("0x100 0+1200x1 1200x300", 5, 400),
            [proved("1h", 105), proved("1h", 150), *(firing(minute) for minute in range(100, 400, 5))],
            id="a minute with many changed rows",
        ),
        pytest.param(
            as_trained_but("0x100 0+60x14 840x300", 5, 400),
            [proved("1h", 160), *(firing(minute) for minute in range(100, 400, 5))],
            id="a quarter of an hour",
        ),
        pytest.param(
            as_trained_but("0x100 0+60x300", 5, 400),
            [firing(170), firing(200, "1h"), firing(390, "1h")],
            id="it lasts",
        ),
        pytest.param(
            as_trained_but("0x100 0+60x120 7200x400", 5, 600),
            [firing(170), firing(230, "1h"), firing(280, "1h"), firing(320), firing(590)],
            id="it ends after two hours",
        ),
        pytest.param(
            as_trained_but(f"0x{DAY} 0+6000x1 6000x{2 * DAY}", 1, 5 * DAY // 2),
            [proved("1d", 2 * DAY - HOUR), *(firing(minute) for minute in range(DAY, 5 * DAY // 2, 2 * HOUR))],
            id="a minute with more changed rows than a day has good ones",
        ),
        pytest.param(
            as_trained_but(f"0x{DAY} 0+1x{3 * DAY}", 0, 4 * DAY),
            [proved("1d", 2 * DAY), firing(2 * DAY), firing(3 * DAY + 4 * HOUR, "1d")],
            id="few changed rows, for days",
        ),
    ],
)
def test_a_short_change_of_the_rows_never_fires_and_a_lasting_one_does(
    tmp_path: Path, series: list[dict[str, str]], asked: list[dict[str, Any]]
) -> None:
    # A tenth of the looks where days are looked at: promtool takes as long as there are looks.
    is_long = int(asked[-1]["eval_time"].rstrip("m")) > DAY
    cases = [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]
    done = alert_rules.run_cases(tmp_path, cases, groups={"fairlead.drift"}, interval="10m" if is_long else None)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_operators_queries_find_what_is_compared_and_what_fires(tmp_path: Path) -> None:
    """At first no request comes, then such as in the training data, and from minute 120 on others as well."""
    series = as_trained_but("0x120 0+60x180", 5, 300)
    for each in series:
        if each["series"].startswith("fairlead_replica_sampled_rows_total") and 'replica="r-0"' in each["series"]:
            each["values"] = "0x50 0+5x250"
    names = f'model="digits",revision="r",feature="{FEATURE}",window="1h"'
    firing, known = reads.firing_query("shop"), reads.compared_query("shop")
    share = f"count by (model, revision, feature, window) ({firing} > {drift_distance.MARGIN})"
    asked = [
        {"expr": known, "eval_time": "40m", "exp_samples": []},
        {"expr": known, "eval_time": "110m", "exp_samples": [{"labels": '{model="digits",revision="r"}', "value": 2}]},
        {"expr": firing, "eval_time": "110m", "exp_samples": []},
        {"expr": share, "eval_time": "250m", "exp_samples": [{"labels": f"{{{names}}}", "value": 1}]},
        {"expr": reads.firing_query("elsewhere"), "eval_time": "250m", "exp_samples": []},
        {"expr": reads.compared_query("elsewhere"), "eval_time": "250m", "exp_samples": []},
    ]
    cases = [{"interval": "1m", "input_series": series, "promql_expr_test": asked}]
    done = alert_rules.run_cases(tmp_path, cases, groups={"fairlead.drift"}, interval="5m")
    assert done.returncode == 0, done.stdout + done.stderr
