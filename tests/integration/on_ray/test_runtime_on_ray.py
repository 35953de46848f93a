"""The replica under real Ray Serve: both protocols, drain without a lost request, the loader's words in the status."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support import ray_nodes
from tests.support.replica_parts import wait_until
from tests.support.served_on_ray import START_S, LikeAGateway, Ray, application, ask
from tests.support.until import until

from fairlead_operator.desired import application as composed
from fairlead_operator.state import serve
from fairlead_operator.state.desired import Autoscaling
from fairlead_runtime import failed_starts
from fairlead_runtime.replica import HEALTHY_S

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def ray(small: Ray) -> Ray:
    return small


def test_a_replica_answers_both_protocols_keeps_its_digest_and_drains_without_a_lost_request(ray: Ray) -> None:
    app = application(ray, "dense")
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    replica = ray.one(app)
    row = {"instances": [[1, 2, 3, 4]]}
    status, predicted, _ = ask(replica, "POST", "/v1/models/dense:predict", row)
    assert status == 200
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    status, inferred, _ = ask(replica, "POST", "/v2/models/dense/infer", {"inputs": [tensor]})
    assert status == 200
    assert inferred["outputs"][0]["data"] == predicted["predictions"][0]
    digest = ask(replica, "GET", "/v2/models/dense")[2]["x-fairlead-digest"]
    pinned = application(ray, "dense", digest=digest)
    pinned["args"] = app["args"]
    ray.put(pinned)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    assert ray.one(app) == replica, "pinning a digest starts nothing"
    gateway = LikeAGateway(replica, row)
    wait_until(lambda: gateway.succeeded > 20)
    put_s = time.monotonic()
    ray.put()
    wait_until(lambda: [each["state"] for each in ray.replicas(app)] == ["Draining"], within_s=200)
    health = ask(replica, "GET", f"/-/healthz/{replica['name']}")[0]
    # A busy machine may ask later than the replica is healthy for.
    assert health == 200 or time.monotonic() - put_s > HEALTHY_S, "another one may not be checked yet"
    assert gateway.has_left.wait(200)
    assert gateway.failed == []
    assert gateway.succeeded_while_draining > 0
    wait_until(lambda: ray.status(app["name"])[0] == "ABSENT", within_s=200)
    assert ray.replicas(app) == []


@pytest.mark.nightly
def test_replicas_of_one_revision_on_two_nodes_and_one_that_is_killed_and_replaced(ray: Ray) -> None:
    app = application(ray, "dense")
    app["deployments"][0]["num_replicas"] = 4
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    before = ray.replicas(app)
    assert {each["host"] for each in before} == {"127.0.0.1", "127.0.0.2"}
    assert len({(each["host"], each["port"]) for each in before}) == 4
    for each in before:
        assert ask(each, "POST", "/v1/models/dense:predict", {"instances": [[1, 2, 3, 4]]})[0] == 200
        assert ask({**each, "name": before[0]["name"][:-1] + "x"}, "GET", "/v2")[0] == 425

    victim = before[0]
    os.kill(ray_nodes.pid(ray.local, victim), signal.SIGKILL)

    wait_until(lambda: victim["name"] not in {each["name"] for each in ray.replicas(app)}, within_s=200)
    wait_until(lambda: len(ray.replicas(app)) == 4, within_s=START_S)
    assert {each["name"] for each in before} - {each["name"] for each in ray.replicas(app)} == {victim["name"]}
    ray.put()
    wait_until(lambda: ray.replicas(app) == [], within_s=200)


def test_two_replicas_that_start_together_are_served_by_one_conversion_of_their_model(ray: Ray) -> None:
    app = application(ray, "cnn")
    app["args"]["config"]["engine"] = "ONNXRuntime"
    app["deployments"][0]["num_replicas"] = 2
    by_tensorflow = application(ray, "cnn")
    by_tensorflow["name"], by_tensorflow["args"]["config"]["revision"] = "default--cnn--7ab0c9d1e2", "7ab0c9d1e2"
    ray.put(app, by_tensorflow)
    for each in (app, by_tensorflow):
        wait_until(lambda each=each: ray.status(each["name"])[0] == "RUNNING", within_s=START_S)
    reference = ray.one(by_tensorflow)
    assert ask(reference, "GET", "/v2/models/cnn")[2]["x-fairlead-engine"] == "TensorFlow"
    (given,) = ask(reference, "GET", "/v2/models/cnn")[1]["inputs"]
    image = {"name": given["name"], "shape": [1, 8, 8, 1], "datatype": "FP32", "data": [i / 64 for i in range(64)]}
    expected = ask(reference, "POST", "/v2/models/cnn/infer", {"inputs": [image]})[1]["outputs"][0]["data"]
    for replica in ray.replicas(app):
        assert ask(replica, "GET", "/v2/models/cnn")[2]["x-fairlead-engine"] == "ONNXRuntime"
        status, answer, _ = ask(replica, "POST", "/v2/models/cnn/infer", {"inputs": [image]})
        assert status == 200
        assert answer["outputs"][0]["data"] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    ray.put()
    wait_until(lambda: ray.replicas(app) == [], within_s=200)


def test_replicas_of_one_model_accept_each_others_feedback_tokens(ray: Ray) -> None:
    one, other = application(ray, "dense"), application(ray, "dense")
    other["args"]["config"]["revision"] = "7ab0c9d1e2"
    other["name"] = "default--dense--7ab0c9d1e2"
    ray.put(one, other)
    for app in (one, other):
        wait_until(lambda app=app: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)

    _, _, headers = ask(ray.one(one), "POST", "/v1/models/dense:predict", {"instances": [[1, 2, 3, 4]]})
    feedback = {"token": headers["x-fairlead-feedback"], "label": 1}
    status, counted, _ = ask(ray.one(other), "POST", "/v2/models/dense/feedback", feedback)

    revision = one["args"]["config"]["revision"]
    assert (status, counted["labelled"], counted["repeated"]) == (200, 1, 0)
    _, measured, _ = ask(ray.one(other), "GET", f"/-/measurements/{ray.one(other)['name']}")
    assert measured["feedback"] == {revision: {"labelled": 1, "correct": counted["correct"]}}
    ray.put()


@pytest.mark.nightly
def test_replicas_follow_the_load_and_other_bounds_restart_none(ray: Ray) -> None:
    app = application(ray, "dense")
    # Each request waits for others: a load that takes no processor.
    app["args"]["config"]["batching"] = {"maxDelayMilliseconds": 300}
    scaled(app, least=1, most=3, down_s=2)
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    first = ray.one(app)
    assert ray.targets(app["name"]) == [1]
    with asking(first):
        wait_until(lambda: ray.targets(app["name"]) == [3], within_s=200)
        wait_until(lambda: len(ray.replicas(app)) == 3, within_s=START_S)
    wait_until(lambda: ray.targets(app["name"]) == [1], within_s=200)
    wait_until(lambda: len(ray.replicas(app)) == 1, within_s=200)

    (left,) = ray.replicas(app)
    scaled(app, least=2, most=4, down_s=600, target=2)
    ray.put(app)
    wait_until(lambda: len(ray.replicas(app)) == 2, within_s=START_S)
    scaled(app, least=1, most=4, down_s=600, target=2)
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)

    assert left in ray.replicas(app)
    assert ray.targets(app["name"]) == [2], "fewer may run, but the load has not asked for fewer for long enough"
    deployed = ray.call("GET")["applications"][app["name"]]["deployed_app_config"]
    assert serve.says_the_same(app, deployed)
    ray.put()


def scaled(app: dict, *, least: int, most: int, down_s: int, target: int = 1) -> None:
    """As the operator composes it."""
    (replica,) = app["deployments"]
    replica.pop("num_replicas", None)
    bounds = Autoscaling(least=least, most=most, ongoing_requests=target, up_s=0, down_s=down_s)
    replica.update(composed.autoscaled(bounds))


@contextlib.contextmanager
def asking(replica: dict) -> Iterator[None]:
    """Four callers, one request after the other, past Ray."""
    done = threading.Event()

    def ask_on() -> None:
        while not done.is_set():
            assert ask(replica, "POST", "/v1/models/dense:predict", {"instances": [[1, 2, 3, 4]]})[0] == 200

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(ask_on) for _ in range(4)]
        try:
            yield
        finally:
            done.set()
        for caller in callers:
            caller.result()


def test_a_model_that_cannot_be_served_reports_the_reason_in_rays_status(ray: Ray, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\xff garbage")
    zeros = "sha256:" + "0" * 64
    wrong = {
        "DigestMismatch": application(ray, "dense", digest=zeros),
        "ModelNotFound": application(ray, "absent", source={"uri": "file:///nowhere/absent?token=secret"}),
        "ModelCorrupt": application(ray, "corrupt", source={"uri": tmp_path.as_uri()}),
        "SignatureNotFound": application(ray, "words", source={"signature": "nope"}),
        "WarmupFailed": application(ray, "headless"),
        "UnsafeModel": application(ray, "bad-read"),
        "NodeMisconfigured": application(ray, "misplaced", source={"uri": (ray.models / "dense").as_uri()}),
    }
    actor = wrong["NodeMisconfigured"]["deployments"][0]["ray_actor_options"]
    actor["runtime_env"] = {"env_vars": {"FAIRLEAD_CLUSTER": "none"}}
    ray.put(*wrong.values())
    for reason, app in wrong.items():
        wait_until(lambda app=app: ray.status(app["name"])[0] == "DEPLOY_FAILED", within_s=START_S)
        message = ray.status(app["name"])[1]
        output = [line for line in message.splitlines() if line.startswith("fairlead: ")]
        assert output, message
        assert output[-1].startswith(f"fairlead: {reason}: "), output
        assert "secret" not in message
    ray.put()


@pytest.mark.nightly
def test_a_replica_that_can_start_no_more_is_tried_less_and_less_often(ray: Ray, tmp_path: Path) -> None:
    fading = shutil.copytree(ray.models / "dense", tmp_path / "fading")
    app = application(ray, "fading", source={"uri": fading.as_uri()})
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    shutil.rmtree(fading)
    os.kill(ray_nodes.pid(ray.local, ray.one(app)), signal.SIGKILL)

    def longest_pause_s() -> float:
        return max((after - before for before, after in itertools.pairwise(last_logged(ray, app)[1:])), default=0)

    until(
        lambda: longest_pause_s() > 7,
        "a pause of 8 s",
        deadline_s=400,
        poll_s=0.5,
        explain=lambda: last_logged(ray, app),
    )
    times = last_logged(ray, app)
    print(f"\nstarts, in seconds after the first: {[round(each - times[0], 1) for each in times]}")
    assert len(times) > failed_starts.FREE
    assert "fairlead: ModelNotFound: " in ray.status(app["name"])[1]
    # The next one waits now, and ends without a delay.
    ray.put()
    wait_until(lambda: ray.status(app["name"])[0] == "ABSENT", within_s=200)


def last_logged(ray: Ray, app: Mapping[str, object]) -> list[float]:
    """When each replica that an application has had wrote its last line into its log, in order."""
    return sorted(each.stat().st_mtime for each in (ray.local.ray_logs / "serve").glob(f"replica_{app['name']}_*.log"))


def test_a_configuration_of_another_version_is_refused_before_any_replica(ray: Ray) -> None:
    app = application(ray, "dense")
    app["args"]["config"]["schemaVersion"] = 99
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "DEPLOY_FAILED", within_s=START_S)
    found = ray.call("GET")["applications"]
    assert isinstance(found, dict)
    assert "fairlead: ConfigInvalid: the configuration has schemaVersion 99" in found[app["name"]]["message"]
    ray.put()
