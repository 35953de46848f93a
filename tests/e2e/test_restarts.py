"""Everything that runs is ended and started again; nobody helps, and everything serves again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.e2e.counted import CONNECTIONS, counted, require_no_failures
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import haproxy_master, kill_for_good, start_operator
from tests.e2e.stage import Model, Stage
from tests.support import request_counts
from tests.support.until import until

from fairlead_cli import load

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
TABLE = "Restarts"
REQUESTS = request_counts.at_least(30_000, daily=2_000)


@pytest.fixture(scope="module")
def serving(stage: Stage) -> Iterator[Model]:
    with stage.deployed("serving") as model:
        yield model


def test_no_request_fails_while_the_api_server_and_etcd_are_killed(stage: Stage, serving: Model) -> None:
    with counted(serving) as run:
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=400)
        for part in ("kube-apiserver", "etcd"):
            stage.local.stop(part, signal.SIGKILL)
        for part in ("etcd", "kube-apiserver"):
            stage.local.start(part)
        serving.until_settled()
        _takes_changes_again(serving)
        run.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
        report = run.stop()
    _keep(report, "API server and etcd, SIGKILL")
    require_no_failures(report)


def test_what_was_deleted_while_the_operator_was_away_is_cleaned_up(stage: Stage) -> None:
    with stage.deployed("asked") as asked, stage.deployed("forced") as forced:
        kill_for_good(stage.local, "operator")
        stage.kubectl("delete", "mdep", "asked", "forced", "--wait=false")
        # Somebody in a hurry takes the finalizer away: no event and no object will ever tell of this model again.
        stage.api.merge(stage.api.models_path("forced"), {"metadata": {"finalizers": []}})
        until(lambda: forced.read() is None, "forced is gone from Kubernetes")
        stage.local.restart("kube-apiserver", signal.SIGKILL)
        start_operator(stage.local)
        asked.until_gone()
        forced.until_gone()


def test_a_killed_haproxy_is_restarted_at_once(stage: Stage, serving: Model) -> None:
    with counted(serving) as run:
        run.wait_until(lambda seen: seen.requests > 500, timeout_s=400)
        master = haproxy_master(stage.local)
        assert master is not None
        os.kill(master, signal.SIGKILL)
        until(lambda: haproxy_master(stage.local) not in (None, master), "another HAProxy runs", deadline_s=400)
        answered = run.progress().requests
        run.wait_until(lambda seen: seen.requests > answered + 500, timeout_s=400)
        report = run.stop()
    _keep(report, "HAProxy, SIGKILL")
    # What was in its hands is lost; nothing else is.
    assert report.failed <= CONNECTIONS, report.summary()


def test_a_restarted_gateway_serves_from_its_saved_routes(stage: Stage, serving: Model) -> None:
    for part in ("operator", "kube-apiserver"):
        kill_for_good(stage.local, part)
    try:
        stage.local.restart("gateway")
        row = stage.models.inputs(1)
        until(lambda: _answers(stage, serving, row), "the gateway serves without API server and operator")
    finally:
        stage.local.start("kube-apiserver")
        start_operator(stage.local)
    serving.until_settled()


def test_a_restarted_ray_head_gets_its_applications_again(stage: Stage, serving: Model) -> None:
    stable = serving.stable
    row = stage.models.inputs(1)
    lost_s = time.monotonic()
    stage.local.restart("ray", signal.SIGKILL)
    until(lambda: _answers(stage, serving, row), "it serves again", deadline_s=400, explain=serving.explain)
    RESULTS.add(TABLE, {"what": "Ray's head, SIGKILL", "seconds until it served again": time.monotonic() - lost_s})
    assert serving.until_settled()["status"]["stableRevision"] == stable


def _takes_changes_again(model: Model) -> None:
    before = model.stable
    model.apply("v2" if model.status()["model"]["version"] == "v1" else "v1")
    model.until_settled(other_than=before)


def _answers(stage: Stage, model: Model, rows: list[list[float]]) -> bool:
    tensor = {"name": "pixels", "datatype": "FP32", "shape": [len(rows), len(rows[0])], "data": rows[0]}
    try:
        answer = stage.gateway.post(f"/v2/models/{model.name}/infer", json={"inputs": [tensor]})
    except httpx.TransportError:
        return False
    return answer.status_code == 200


def _keep(report: load.Report, what: str) -> None:
    RESULTS.add(
        TABLE,
        {
            "what": what,
            "requests": report.requests,
            "failed": report.failed,
            "longest time without an answer, ms": report.longest_gap_s * 1000,
        },
    )
