"""The operator's analysis over a real API server and a real Prometheus; the gateway's counters are set by the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_prometheus import FakePrometheus
from tests.support.operated import Operated
from tests.support.prometheus_process import PrometheusProcess
from tests.support.until import until

from fairlead_cli.local import cluster
from fairlead_gateway.measurements import BUCKETS_S

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
NAME = "digits"
GOOD, NEXT = "file:///models/good", "file:///models/next"
QUERY = "sum(kernel_seconds{revision='{{candidate}}'}) / sum(kernel_seconds{revision='{{stable}}'})"
KERNEL = {"name": "kernel", "prometheus": {"query": QUERY, "success": {"max": 2}, "failure": {"min": 4}}}
ERRORS = {"name": "errors", "errorRatio": {}}


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


def rollout_with(metric: dict[str, Any], *, window_s: int = 0, **analysis: Any) -> dict[str, Any]:
    analysis_spec = {"metrics": [metric], "intervalSeconds": 1, "count": 60, **analysis}
    rollout = {"strategy": "Canary", "steps": [{"setWeight": 50}, {"analysis": {}}], "analysis": analysis_spec}
    return rollout | ({"rollbackWindow": {"seconds": window_s}} if window_s else {})


def begin(operated: Operated, metric: dict[str, Any], *, window_s: int = 0, **analysis: Any) -> tuple[str, str]:
    """A second revision, or the first one again, in its step of analysis; stable and candidate."""
    rollout = rollout_with(metric, window_s=window_s, **analysis)
    if operated.get(NAME) is None:
        operated.apply(NAME, GOOD, rollout=rollout)
        operated.until_ready(NAME)
    operated.apply(NAME, NEXT if operated.status(NAME)["model"]["uri"] == GOOD else GOOD, rollout=rollout)
    until(
        lambda: (operated.status(NAME).get("rollout") or {}).get("analysis"),
        "the first measurement",
        deadline_s=400,
        explain=lambda: operated.explain(NAME),
    )
    status = operated.status(NAME)
    return status["stableRevision"], status["candidateRevision"]


def analysis(operated: Operated) -> dict[str, Any]:
    return (operated.status(NAME).get("rollout") or {}).get("analysis") or {}


def counted(requests: int, errors: int = 0) -> dict[str, Any]:
    return {
        "requests": {"total": requests, "serverErrors": errors, "clientErrors": 0, "aborted": 0},
        "durations": {"boundsSeconds": BUCKETS_S, "counts": [requests] + [0] * len(BUCKETS_S)},
    }


def is_quarantined(operated: Operated) -> bool:
    return [entry["reason"] for entry in operated.status(NAME).get("quarantine") or ()] == ["AnalysisFailed"]


def test_a_prometheus_query_promotes_or_withdraws(operated: Operated, prometheus: PrometheusProcess) -> None:
    stable, candidate = begin(operated, KERNEL, count=1000)
    prometheus.page = f'kernel_seconds{{revision="{stable}"}} 2\nkernel_seconds{{revision="{candidate}"}} 3\n'
    query = QUERY.replace("{{candidate}}", candidate).replace("{{stable}}", stable)
    until(lambda: prometheus.ask(query), "Prometheus has both revisions")
    # Only now may a measurement be the last one: an answer without a number ends the analysis as inconclusive.
    operated.apply(NAME, NEXT, rollout=rollout_with(KERNEL, count=3))
    status = operated.until_ready(NAME)
    assert status["stableRevision"] == candidate
    assert "AnalysisSuccessful" in operated.event_reasons(NAME)
    stable, candidate = begin(operated, KERNEL)
    prometheus.page = f'kernel_seconds{{revision="{stable}"}} 2\nkernel_seconds{{revision="{candidate}"}} 9\n'
    until(lambda: is_quarantined(operated), "taken back", deadline_s=400, explain=lambda: operated.explain(NAME))
    assert operated.status(NAME)["stableRevision"] == stable
    assert "kernel: the query returned 4.5" in operated.status(NAME)["quarantine"][0]["message"]


def test_no_series_is_inconclusive_and_a_person_decides(operated: Operated, prometheus: PrometheusProcess) -> None:
    prometheus.page = ""
    begin(operated, KERNEL, count=2)
    until(
        lambda: analysis(operated).get("phase") == "Inconclusive",
        "inconclusive",
        deadline_s=400,
        explain=lambda: operated.explain(NAME),
    )
    assert operated.status(NAME)["phase"] == "Paused"
    assert operated.condition(NAME, "Ready")["reason"] == "AnalysisInconclusive"


def test_errors_withdraw_a_candidate_also_when_the_operator_is_killed(operated: Operated) -> None:
    stable, candidate = begin(operated, ERRORS)
    gateway = operated.gateway
    gateway.measurements = {stable: counted(5000), candidate: counted(60, 10)}
    until(
        lambda: analysis(operated).get("candidate", {}).get("serverErrors") == 10,
        "measured",
        explain=lambda: operated.explain(NAME),
    )
    operated.kill_operator()
    gateway.measurements = {stable: counted(9000), candidate: counted(500, 90)}
    operated.operator.start()
    until(lambda: is_quarantined(operated), "taken back", deadline_s=400, explain=lambda: operated.explain(NAME))
    assert (
        "failed requests: candidate 18 % of 500, stable 0 % of 9,000"
        in (operated.status(NAME)["quarantine"][0]["message"])
    )


def test_a_promoted_revision_that_fails_in_its_window_is_replaced_also_after_an_operator_crash(
    operated: Operated,
) -> None:
    first, second = begin(operated, ERRORS, window_s=600)
    gateway = operated.gateway
    gateway.measurements = {first: counted(9000, 9), second: counted(4000, 4)}
    until(
        lambda: (operated.status(NAME).get("rollout") or {}).get("phase") == "Watching" and analysis(operated),
        "promoted and measured on",
        deadline_s=400,
        explain=lambda: operated.explain(NAME),
    )
    assert operated.is_ready(NAME)
    assert operated.status(NAME)["rollout"]["baseline"] == {
        "requests": 9000,
        "serverErrors": 9,
        "labelled": 0,
        "correct": 0,
    }
    gateway.measurements = {first: counted(9000, 9), second: counted(6000, 104)}
    until(
        lambda: analysis(operated).get("candidate", {}).get("requests") == 2000,
        "measured",
        explain=lambda: operated.explain(NAME),
    )
    operated.kill_operator()
    gateway.measurements = {first: counted(9000, 9), second: counted(9000, 254)}
    operated.operator.start()
    until(lambda: is_quarantined(operated), "taken back", deadline_s=400, explain=lambda: operated.explain(NAME))
    status = operated.status(NAME)
    assert (status["stableRevision"], status["quarantine"][0]["revision"]) == (first, second)
    assert "failed requests: promoted 5 % of 2,000, previous 0.1 % of 9,000" in status["quarantine"][0]["message"]
    until(lambda: operated.gateway.entries()[NAME]["stable"] == first, "the route")


def test_an_unreadable_gateway_stops_the_rollout(operated: Operated) -> None:
    stable, candidate = begin(operated, ERRORS, errorLimit=1)
    broken = {"requests": {"total": -1}}
    operated.gateway.measurements = {stable: broken, candidate: broken}
    until(lambda: analysis(operated).get("phase") == "Inconclusive", "asks", explain=lambda: operated.explain(NAME))
    status = operated.status(NAME)
    assert (status["stableRevision"], status["rollout"]["step"]) == (stable, 1)
    assert "were unavailable" in status["rollout"]["analysis"]["message"]


def test_a_candidate_that_fails_at_one_gateway_is_withdrawn_there_while_another_cannot_be_reached(
    kubernetes: cluster.LocalCluster, tmp_path: Path
) -> None:
    made, others = Operated(kubernetes, tmp_path), []

    def start_another(namespace: str) -> tuple[str, ...]:
        other = FakeGateway(
            namespace=namespace, rays=made.rays, read_routes=lambda: made.gateway.entries(), name="gateway-1"
        )
        others.append(other.__enter__())
        return ("--gateway", f"{namespace}={other.addresses}")

    made.flags_of_namespace = start_another
    with made:
        stable, candidate = begin(made, ERRORS)
        others[0].stop()
        made.gateway.measurements = {stable: counted(5000), candidate: counted(500, 90)}
        until(lambda: is_quarantined(made), "taken back", deadline_s=400, explain=lambda: made.explain(NAME))
        assert "counted at 1 of 2 gateways; " in made.status(NAME)["quarantine"][0]["message"]
        until(lambda: "candidate" not in made.gateway.entries()[NAME], "the route")
        expected = (
            f"({candidate}) is withdrawn at gateway gateway-0; waiting for gateway gateway-1, which cannot be read"
        )
        until(
            lambda: expected in made.condition(NAME, "Progressing").get("message", ""),
            "the sentence",
            explain=lambda: made.explain(NAME),
        )
        assert made.ray.running_now(f"{made.namespace}--{NAME}--{candidate}") > 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"code": 500}, id="faulty"),
        pytest.param({"is_late": True}, id="late"),
        pytest.param({"answer": [1.0, 2.0]}, id="two series"),
    ],
)
def test_an_unreachable_prometheus_makes_the_analysis_inconclusive(
    kubernetes: cluster.LocalCluster, tmp_path: Path, fault: dict[str, Any]
) -> None:
    with FakePrometheus() as server:
        made = Operated(kubernetes, tmp_path)
        made.flags_of_namespace = lambda namespace: ("--prometheus", f"{namespace}={server.url}")
        for name, value in fault.items():
            setattr(server, name, value)
        with made:
            _, candidate = begin(made, KERNEL, errorLimit=1)
            until(
                lambda: analysis(made).get("phase") == "Inconclusive",
                "inconclusive",
                deadline_s=400,
                explain=lambda: made.explain(NAME),
            )
            assert made.status(NAME)["candidateRevision"] == candidate
            assert server.queries[0].startswith(f"sum(kernel_seconds{{revision='{candidate}'}})")
