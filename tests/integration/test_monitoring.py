"""A real Prometheus scrapes a real operator and a real gateway as the shipped monitors say, with the shipped rules."""

from __future__ import annotations

import contextlib
import json
import math
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support import alert_rules, chart, dashboards, guard_parts, replica_parts
from tests.support.gateway_process import Answer, Gateway, fetch, make_node, revision, spec
from tests.support.http_thread import HttpThread
from tests.support.odd_replica import answer, odd_replica
from tests.support.operated import Operated
from tests.support.prometheus_process import PrometheusProcess
from tests.support.until import until

from fairlead_cli.local import cluster
from fairlead_runtime import sketches
from fairlead_runtime.config import GuardMode
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.model.reference_statistics import Attributions

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
NAME = "digits"
MONITORS = ("monitoring.namespace=monitoring", "monitoring.podMonitors.enabled=true")
A = "aaaaaaaaaa"
PREDICT = f"/v2/models/{NAME}/infer"
ROW = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [0.1, 0.2, 0.9, 0.3]}
FEATURES = ("input0_0", "input0_1")
NEEDS = {
    "fairlead_gateway_retries_total": "a request that ends its replica",
    "fairlead_gateway_empty_answers_total": "a request that ends two replicas, one after the other",
    "fairlead_gateway_request_errors_total": "a request that ends two replicas, one after the other",
    "fairlead_gateway_shadow_copies_total": "a copy of a request",
    "fairlead_gateway_feedback_requests_total": "a true label",
    "fairlead_gateway_proofs_total": "a proof",
    "fairlead_gateway_explanations_total": "an explanation",
    "fairlead_gateway_metadata_requests_total": "a request for metadata",
    "fairlead_replica_feedback": "a true label, and one that is refused",
    "fairlead_replica_shadow_pairs_total": "a copy of a request",
    "fairlead_operator_quarantines_total": "a revision that can't be loaded",
    "fairlead_operator_prometheus_requests_total": "an analysis that asks a Prometheus",
    "fairlead_operator_model_rollout": "a rollout that is in progress",
    'code=~"5.."': "a request that fails",
    'model=""': "a request to a model that there is not",
}
"""What has no series before it happened once, by a part of the query; the test makes all of it happen."""


def act(request: bytes) -> bytes | None:
    return None if b"poison" in request else answer()


class World:
    """One namespace with an operated model, a gateway whose replicas do as they are asked, and a Prometheus."""

    def __init__(
        self,
        operated: Operated,
        gateway: Gateway,
        replica: replica_parts.Running,
        prometheus: PrometheusProcess,
    ) -> None:
        self.operated = operated
        self.gateway = gateway
        self.replica = replica
        self.prometheus = prometheus
        self._wanted = 1

    def ask(self, body: bytes = b"{}", path: str = PREDICT, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return fetch(self.gateway.url + path, body=body, headers=named).status

    def ask_replica(self, body: dict[str, Any], path: str = PREDICT, **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.replica.port}{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return fetch(url, body=json.dumps(body).encode(), headers={"content-type": "application/json", **named})

    def predict(self, **headers: str) -> str:
        """A prediction of the replica; the token with which its true label can be sent."""
        found = self.ask_replica({"inputs": [ROW]}, **headers)
        assert found.status == 200, found.text
        return found.headers["x-fairlead-feedback"]

    def label(self, token: str) -> int:
        """Send a prediction's true label to the replica."""
        return self.ask_replica({"token": token, "label": 2}, path=f"/v2/models/{NAME}/feedback").status

    def work(self) -> None:
        """Requests for the gateway and for the replica, and a change for the operator."""
        self.ask()
        self.predict()
        self.ask_replica({"inputs": [ROW]}, path=f"/v2/models/{NAME}/explain")
        self._wanted = 3 - self._wanted
        self.operated.api.merge(self.operated.api.models_path(NAME), {"spec": {"scaling": {"replicas": self._wanted}}})

    def has_data(self, query: str) -> bool:
        return any(not math.isnan(float(value)) for value in self.prometheus.ask(query))

    def without_data(self, queries: set[str]) -> set[str]:
        self.work()
        return {query for query in queries if not self.has_data(query)}


def scrape_job(monitor: dict[str, Any], *, namespace: str, port: int) -> dict[str, Any]:
    """What the Prometheus operator makes of a PodMonitor, for one process in place of its pods."""
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    name = f"{chart.SYSTEM}/{monitor['metadata']['name']}"
    labels = {"namespace": namespace, "pod": "pod-0"}
    return {
        "job_name": name,
        "scrape_interval": "2s",
        "scrape_timeout": "2s",
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint.get("honorLabels", False),
        "metric_relabel_configs": [
            {"source_labels" if key == "sourceLabels" else key: value for key, value in each.items()}
            for each in endpoint.get("metricRelabelings", ())
        ],
        "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": labels}],
    }


@pytest.fixture
def world(kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[World]:
    monitors = chart.of_kind(chart.render(*MONITORS), "PodMonitor")
    with contextlib.ExitStack() as stack:
        analysed = stack.enter_context(PrometheusProcess(tmp_path / "analysed"))
        operated = Operated(kubernetes, tmp_path)
        operated.flags_of_namespace = lambda namespace: ("--prometheus", f"{namespace}={analysed.url}")
        stack.enter_context(operated)
        node = make_node(tmp_path / "node")
        for _ in range(4):
            stack.enter_context(odd_replica(act, node=node))
        gateway = Gateway(tmp_path / "gateway", nodes=[node])
        stack.callback(gateway.stop)
        gateway.start()
        gateway.apply(digits=spec(A, {A: revision()}))
        gateway.wait_up(NAME, A, 4)
        # A node of its own for a replica that is more than odd: it answers, counts and gets true labels.
        place = make_node(tmp_path / "replicas")
        compared = [sketches.of_numbers("input0_0", (0.5,), (50, 50, 0))]
        guards = guard_parts.build({Guard.NOT_FINITE: GuardMode.OBSERVE})
        setting = replica_parts.Setting(node=place, namespace=operated.namespace, sketches=compared, guards=guards)
        setting.attributions = Attributions(baselines=(0.0,) * 4, shares=(10.0, 20.0, 30.0, 40.0, 0.0))
        replica = stack.enter_context(replica_parts.running(setting))
        replica.parts.metrics.phases_s = {"all": 1.0}
        jobs = [
            scrape_job(dict(monitors["fairlead-operator"]), namespace=chart.SYSTEM, port=operated.operator.port),
            scrape_job(dict(monitors["fairlead-gateway"]), namespace=operated.namespace, port=gateway.admin_port),
            scrape_job(dict(monitors["fairlead-replicas"]), namespace=operated.namespace, port=place.directory_port),
        ]
        prometheus = PrometheusProcess(tmp_path / "scraping", jobs=jobs, rule_files=[alert_rules.RULES])
        yield World(operated, gateway, replica, stack.enter_context(prometheus))


def everything_asked() -> set[str]:
    """Each query of each dashboard, and each recorded series."""
    asked = {query for path in dashboards.FILES for _, query in dashboards.queries(path, rate_interval="20s")}
    return asked | {rule["record"] for rule in alert_rules.rules() if "record" in rule}


def make_everything_happen(world: World) -> None:
    """All of NEEDS; at its end a rollout stands at its first step, as the analysis finds nothing."""
    statuses = {
        "poison": world.ask(b"poison"),
        "copy": world.ask(x_fairlead_shadow_copy="unsigned", x_fairlead_revision=A),
        "feedback": world.ask(path=f"/v2/models/{NAME}/feedback"),
        "proof": world.ask(b"", path=f"/v2/models/{NAME}/proof", x_fairlead_revision=A),
        "explanation": world.ask(path=f"/v2/models/{NAME}/explain"),
        "metadata": fetch(f"{world.gateway.url}/v2/models/{NAME}").status,
        "unknown": world.ask(path="/v2/models/nothing/infer"),
    }
    refused = {"poison": 502, "unknown": 404}
    assert statuses == {**dict.fromkeys(statuses, 200), **refused}
    assert [world.label(world.predict()), world.label("made up")] == [200, 400]
    world.predict(x_fairlead_shadow=f"127.0.0.1:{world.replica.port}/bbbbbbbbbb")
    operated = world.operated
    operated.apply(NAME, "file:///models/broken")
    until(lambda: operated.status(NAME).get("quarantine"), "a quarantine", explain=lambda: operated.explain(NAME))
    query = {"name": "absent", "prometheus": {"query": "sum(nothing)", "success": {"max": 1}}}
    analysis = {"metrics": [query], "intervalSeconds": 1, "count": 600, "inconclusiveLimit": 600}
    rollout = {"strategy": "Canary", "steps": [{"setWeight": 50}, {"analysis": {}}], "analysis": analysis}
    operated.apply(NAME, "file:///models/next", rollout=rollout)
    until(
        lambda: (operated.status(NAME).get("rollout") or {}).get("analysis"),
        "a rollout that stands at its analysis",
        deadline_s=400,
        explain=lambda: operated.explain(NAME),
    )


def test_every_query_of_every_dashboard_and_every_recorded_series_returns_data(world: World) -> None:
    world.operated.apply(NAME)
    world.operated.until_ready(NAME)
    asked = everything_asked()
    later = {query for query in asked if any(part in query for part in NEEDS)}
    without: set[str] = set()

    def all_have_data(queries: set[str]) -> bool:
        without.clear()
        without.update(world.without_data(queries))
        return not without

    until(lambda: all_have_data(asked - later), "data of a model in service", deadline_s=400, explain=lambda: without)
    make_everything_happen(world)
    until(lambda: all_have_data(asked), "data of everything", deadline_s=400, explain=lambda: without)
    # `namespace` is the model's, not that of the operator's pod.
    namespace = world.operated.namespace
    assert world.prometheus.ask(f'fairlead_operator_model_revisions{{namespace="{namespace}"}}')
    assert world.prometheus.ask('{__name__=~"fairlead.*",exported_namespace!=""}') == []
    outcomes = {"Started": 3.0, "Promoted": 1.0}
    counted = 'sum by (outcome) (fairlead_operator_rollouts_total{outcome="%s"})'
    assert {each: float(world.prometheus.ask(counted % each)[0]) for each in outcomes} == outcomes
    assert float(world.prometheus.ask("sum(fairlead_operator_quarantines_total)")[0]) == 1


def test_names_that_clients_make_up_become_no_series(world: World) -> None:
    def series() -> int:
        page = world.gateway.admin("/metrics")
        assert page is not None
        return sum(not line.startswith("#") for line in page.text.splitlines())

    def counted() -> float:
        return world.gateway.metric("fairlead_gateway_requests_total")

    world.ask()
    world.ask(path="/v2/models/nothing/infer")
    world.ask(x_fairlead_revision="0000000000")
    until(lambda: counted() == 3, "the first are counted")
    before, count = series(), 200
    for _ in range(count):
        name = secrets.token_hex(8)
        assert world.ask(path=f"/v2/models/{name}/infer") == 404
        assert world.ask(x_fairlead_revision=name[:10]) == 404
    until(lambda: counted() == 3 + 2 * count, "they are counted")
    assert series() == before


@pytest.mark.nightly
def test_changed_inputs_of_live_requests_raise_the_alert_of_their_feature_alone(tmp_path: Path) -> None:
    """Of each row the first number is above what half of the training data has, and the second is as there."""
    monitors = chart.of_kind(chart.render(*MONITORS), "PodMonitor")
    place = make_node(tmp_path / "replicas")
    compared = [sketches.of_numbers(f"input0_{column}", (0.5,), (500, 500, 0)) for column in range(2)]
    chance = random.Random(1)
    with replica_parts.running(replica_parts.Setting(node=place, sketches=compared)) as replica:
        job = scrape_job(dict(monitors["fairlead-replicas"]), namespace="default", port=place.directory_port)
        with PrometheusProcess(tmp_path / "scraping", jobs=[job], rule_files=[alert_rules.RULES]) as prometheus:

            def raised() -> list[str]:
                row = {**ROW, "data": [0.9, chance.random(), 0, 0]}
                url = f"http://127.0.0.1:{replica.port}{PREDICT}"
                body, kind = json.dumps({"inputs": [row]}).encode(), {"content-type": "application/json"}
                assert fetch(url, body=body, headers=kind).status == 200
                # Pending: it fires once that has lasted longer than the window.
                return prometheus.ask('ALERTS{alertname="FairleadInputDrift",alertstate="pending",feature="input0_0"}')

            def sampled() -> str:
                return f"{[sketch.counts for sketch in compared]} {prometheus.ask('fairlead:drift:proved')}"

            until(raised, "the alert", deadline_s=400, explain=sampled)
            # The rule of the day may say the same of this feature, at once or a moment later.
            assert prometheus.ask('ALERTS{alertname=~"Fairlead.*Drift",feature!="input0_0"}') == []
            assert [len(prometheus.ask(f'fairlead:drift:proved{{feature="{name}"}} > 0.1')) for name in FEATURES] == [
                1,
                0,
            ]


MADE_UP = """
fairlead_operator_model_condition{namespace="shop",model="digits",type="Available"} 0
fairlead_gateway_requests_total{namespace="shop",model="digits",revision="aaaaaaaaaa",code="500"} 7
fairlead_replica_pages{namespace="shop",state="Read"} 7
ray_node_mem_used{namespace="shop"} 7
ALERTS{namespace="shop",alertname="FairleadDown",alertstate="firing"} 1
fairlead:model_errors:rate5m{namespace="shop",model="digits"} 7
"""
"""What a pod of another namespace could show of the namespace shop."""


def made_up_page() -> web.Application:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=MADE_UP, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    return application


def test_a_pod_that_a_namespaces_user_made_shows_nothing_of_another_namespace(tmp_path: Path) -> None:
    monitors = chart.of_kind(chart.render(*MONITORS), "PodMonitor")
    own = {
        "fairlead-gateway": "fairlead_gateway_requests_total",
        "fairlead-replicas": "fairlead_replica_pages",
        "fairlead-ray": "ray_node_mem_used",
    }
    page = HttpThread(made_up_page)
    page.start()
    jobs = [scrape_job(dict(monitors[name]), namespace="tenant", port=page.port) for name in own]
    try:
        with PrometheusProcess(tmp_path, jobs=jobs) as prometheus:
            for name, series in own.items():
                query = f'{series}{{namespace="tenant",job="{chart.SYSTEM}/{name}"}}'
                until(lambda query=query: prometheus.ask(query), f"the series of {name}")
            made_up = '{namespace="shop"}', '{exported_namespace!=""}', '{__name__=~"fairlead_operator_.*|fairlead:.*"}'
            assert [prometheus.ask(query) for query in (*made_up, "ALERTS")] == [[], [], [], []]
    finally:
        page.stop()
