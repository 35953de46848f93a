"""A new version under load: no request fails, whichever part is killed or reloaded meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e.counted import counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_alone, kill_operator
from tests.e2e.stage import Model, Stage
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load
from fairlead_operator.state import route

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REQUESTS = request_counts.at_least(30_000)
RATE = request_counts.rate(800.0)
BESIDE = request_counts.at_least(2_000, daily=500)
"""Before the change, and after it."""
RELOADS = 10


@pytest.fixture(scope="module")
def changing(stage: Stage) -> Iterator[Model]:
    """One model that goes from version to version through all rows."""
    with stage.deployed("changing") as model:
        yield model


@pytest.mark.parametrize(
    ("disturbance", "replicas"),
    [
        ("operator killed", 1),
        pytest.param("gateway reloaded", 1, marks=pytest.mark.nightly),
        pytest.param("calm", 1, marks=pytest.mark.nightly),
        pytest.param("gateway agent killed", 1, marks=pytest.mark.nightly),
        ("gateway agent killed", 2),
        pytest.param("calm", 2, marks=pytest.mark.nightly),
        pytest.param("operator killed", 2, marks=pytest.mark.nightly),
        pytest.param("gateway reloaded", 2, marks=pytest.mark.nightly),
    ],
)
def test_a_version_change_fails_no_request(stage: Stage, changing: Model, disturbance: str, replicas: int) -> None:
    if len(stage.ray.replica_pids(changing.name)) != replicas:
        changing.scale(replicas)
        changing.until_up(replicas)
    before = changing.until_settled()["status"]["stableRevision"]
    with counted(changing, rate=RATE) as run:
        run.wait_until(lambda seen: seen.requests > BESIDE, timeout_s=400)
        with DISTURBANCES[disturbance](stage, changing, replicas):
            changing.apply(_next_version(changing), label=f"{disturbance.replace(' ', '-')}-{replicas}")
        after = changing.until_settled(other_than=before)["status"]["stableRevision"]
        answered = run.progress().revisions.get(after, 0)
        run.wait_until(
            lambda seen: seen.revisions.get(after, 0) > answered + BESIDE and seen.requests >= REQUESTS, timeout_s=400
        )
        report = run.stop()
    _keep_row(report, disturbance, replicas)
    require_no_failures(report)
    assert set(report.revisions) == {before, after}
    assert report.requests >= REQUESTS


def _keep_row(report: load.Report, disturbance: str, replicas: int) -> None:
    assert report.latency is not None
    RESULTS.add(
        "A version change under load",
        {
            "replicas": replicas,
            "disturbance": disturbance,
            "requests": report.requests,
            "failed": report.failed,
            "requests/s": report.rate,
            "p50 ms": report.latency.p50_ms,
            "p99 ms": report.latency.p99_ms,
            "longest time without an answer, ms": report.longest_gap_s * 1000,
        },
    )


def _next_version(model: Model) -> str:
    return "v2" if model.status()["model"]["uri"].endswith("/v1/saved_model") else "v1"


@contextmanager
def _calm(_stage: Stage, _model: Model, _replicas: int) -> Iterator[None]:
    yield


@contextmanager
def _operator_killed(stage: Stage, model: Model, replicas: int) -> Iterator[None]:
    """Right after it announced a step: while traffic moves, or before a gateway has the candidate."""
    phases = {"Shifting", "Promoting"} if replicas == 1 else {"Connecting"}
    with _at_phase(stage, model, phases, lambda: kill_operator(stage.local, lease_runs_out=replicas == 1)):
        yield


@contextmanager
def _agent_killed(stage: Stage, model: Model, replicas: int) -> Iterator[None]:
    """HAProxy goes on without its agent; what the operator announced is done by the agent's successor."""

    def kill() -> None:
        kill_alone(stage.local, "gateway")
        stage.local.start("gateway")

    with _at_phase(stage, model, {"Connecting"} if replicas == 1 else {"Shifting", "Promoting"}, kill):
        yield


@contextmanager
def _reloaded(stage: Stage, _model: Model, _replicas: int) -> Iterator[None]:
    """Routes of another model come and go: each changes the topology, and so reloads HAProxy."""

    def reloads() -> float:
        return stage.gateway_metric("fairlead_gateway_haproxy_reloads_total")

    before = reloads()
    yield
    for number in range(3 * RELOADS):
        _pass_by(stage, f"passing{number}")
        if reloads() - before >= RELOADS:
            break
    assert reloads() - before >= RELOADS


DISTURBANCES: Mapping[str, Callable[[Stage, Model, int], Any]] = {
    "calm": _calm,
    "operator killed": _operator_killed,
    "gateway agent killed": _agent_killed,
    "gateway reloaded": _reloaded,
}


@contextmanager
def _at_phase(stage: Stage, model: Model, phases: set[str], act: Callable[[], None]) -> Iterator[None]:
    """Act as soon as the rollout that the block begins announces one of these phases; the block's end waits for it."""
    seen: list[str] = []

    def follow() -> None:
        for found in stage.api.watch(stage.api.models_path(), model.name):
            phase = ((found.get("status") or {}).get("rollout") or {}).get("phase", "")
            if phase in phases:
                seen.append(phase)
                act()
                return

    follower = threading.Thread(target=follow, name="follow-the-rollout")
    follower.start()
    yield
    follower.join(timeout=300)
    assert seen, f"the rollout never announced {sorted(phases)}\n{model.explain()}"


def _pass_by(stage: Stage, name: str) -> None:
    """A route comes and goes that names a header which HAProxy's configuration doesn't have."""
    path = stage.api.routes_path(name)
    revisions = {"aaaaaaaaaa": {"cluster": "default"}, "bbbbbbbbbb": {"cluster": "default"}}
    sticky = {"header": f"x-{name}"}
    limits = {"maxRequestBytes": 1 << 20, "requestTimeoutSeconds": 30}
    spec = _spec(stable="aaaaaaaaaa", candidate="bbbbbbbbbb", revisions=revisions, sticky=sticky, **limits)
    stage.kubectl("create", "-f", "-", manifest=_object(name, spec))
    # The operator may retire it at any time: no ModelDeployment belongs to it.
    until(
        lambda: _version(stage, name) == spec["version"] or _is_retired(stage, name), "the other model's route is live"
    )
    retired = _spec(retired=True)
    if stage.api.get(path) is not None:
        stage.api.merge(path, {"spec": {**dict.fromkeys(spec), **retired}})
        until(lambda: _version(stage, name) in (None, retired["version"]), "it is retired")
    stage.kubectl("delete", "modelroute", name, "--ignore-not-found")
    until(lambda: _version(stage, name) is None, "the gateway dropped it")


def _spec(**fields: Any) -> dict[str, Any]:
    return {**fields, "version": route.version_of(fields)}


def _object(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "labels": {"fairlead.dev/model": name}}
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelRoute", "metadata": metadata, "spec": dict(spec)}


def _version(stage: Stage, name: str) -> str | None:
    return stage.live().get(name, {}).get("version")


def _is_retired(stage: Stage, name: str) -> bool:
    found = stage.api.get(stage.api.routes_path(name))
    return found is None or found["spec"].get("retired", False)
