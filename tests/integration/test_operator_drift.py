"""The operator's condition on drift over a real API server, from series that a real Prometheus answers with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.operated import Operated
from tests.support.prometheus_process import PrometheusProcess
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
NAME, QUIET = "digits", "words"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    with PrometheusProcess(tmp_path_factory.mktemp("prometheus")) as made:
        yield made


@pytest.fixture
def operated(kubernetes: cluster.LocalCluster, prometheus: PrometheusProcess, tmp_path: Path) -> Iterator[Operated]:
    made = Operated(kubernetes, tmp_path)
    made.flags_of_namespace = lambda namespace: ("--prometheus", f"{namespace}={prometheus.url}")
    with made:
        yield made


def test_an_alert_that_fires_is_a_condition_of_the_model_that_asks(
    operated: Operated, prometheus: PrometheusProcess
) -> None:
    for name in (NAME, QUIET):
        operated.apply(name, f"file:///models/{name}", monitoring={"drift": "Condition"})
    revisions = {name: operated.until_ready(name)["stableRevision"] for name in (NAME, QUIET)}
    labels = {
        name: f'namespace="{operated.namespace}",model="{name}",revision="{revision}",feature="input0_mean",window="1h"'
        for name, revision in revisions.items()
    }
    prometheus.page = (
        f"fairlead:drift:proved{{{labels[NAME]}}} 0.314\n"
        f"fairlead:drift:proved{{{labels[QUIET]}}} 0.02\n"
        f'ALERTS{{alertname="FairleadInputDrift",alertstate="firing",severity="ticket",{labels[NAME]}}} 1\n'
    )
    until(
        lambda: all(_has(operated, name, status) for name, status in ((NAME, "True"), (QUIET, "False"))),
        "the conditions",
        deadline_s=400,
        explain=lambda: operated.explain(NAME),
    )
    found = operated.condition(NAME, "DriftDetected")
    assert found["reason"] == "InputDrift"
    assert found["message"].startswith("At least 31% of the rows of revision 1 ")
    assert operated.is_ready(NAME)
    assert "InputDrift" in operated.event_reasons(NAME)
    operated.apply(QUIET, f"file:///models/{QUIET}")
    until(lambda: not _has(operated, QUIET, "False"), "no condition", explain=lambda: operated.explain(QUIET))


def _has(operated: Operated, name: str, status: str) -> bool:
    conditions = operated.status(name).get("conditions") or ()
    return any((each["type"], each["status"]) == ("DriftDetected", status) for each in conditions)
