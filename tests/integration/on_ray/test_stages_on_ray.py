"""A model cut into stages under real Ray Serve: the answers of the whole, a killed stage, an end in order."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from tests.support import made_once
from tests.support.replica_parts import wait_until
from tests.support.served_on_ray import START_S, LikeAGateway, Ray, application, ask

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
ROWS = np.random.default_rng(0).random((3, 64), dtype=np.float32).tolist()
BODY = {"instances": ROWS}


@pytest.fixture(scope="module")
def ray(small: Ray, tmp_path_factory: pytest.TempPathFactory) -> Ray:
    """The cluster with models that can be cut."""
    return dataclasses.replace(small, models=made_once.cuttable_models(tmp_path_factory))


def staged(ray: Ray, model: str, *, stages: int, replicas: int = 1) -> dict:
    """As the operator composes it."""
    app = application(ray, model)
    app["args"]["config"]["parallelism"] = {"stages": stages}
    (first,) = app["deployments"]
    first["ray_actor_options"] = {"num_cpus": 0.1, "memory": 100_000_000}
    names = ["replica", *(f"stage-{number}" for number in range(2, stages + 1))]
    app["deployments"] = [{**first, "name": name, "num_replicas": replicas} for name in names]
    return app


def predict(replica: dict) -> tuple[int, object, Mapping[str, str]]:
    return ask(replica, "POST", f"/v1/models/{replica['model']}:predict", BODY)


def health(replica: dict) -> int:
    return ask(replica, "GET", f"/-/healthz/{replica['name']}")[0]


def pid_of(ray: Ray, app: Mapping[str, object], deployment: str) -> int:
    """The process of a deployment's one replica."""
    (found,) = ray.call("GET")["applications"][app["name"]]["deployments"][deployment]["replicas"]
    return int(found["pid"])


class Counted:
    """A client that asks on and on, and counts the codes of the answers."""

    def __init__(self, replica: dict) -> None:
        self.codes: Counter[int] = Counter()
        self.hints: set[str | None] = set()
        self._replica = replica
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            code, _, headers = predict(self._replica)
            self.codes[code] += 1
            if code == 503:
                self.hints.add(headers.get("retry-after"))


def test_stages_answer_as_the_whole_model_and_end_after_the_last_request(ray: Ray) -> None:
    whole, cut = application(ray, "mlp"), staged(ray, "mlp", stages=3)
    cut["name"], cut["args"]["config"]["revision"] = "default--mlp--7ab0c9d1e2", "7ab0c9d1e2"
    ray.put(whole, cut)
    for app in (whole, cut):
        wait_until(lambda app=app: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    expected, found = predict(ray.one(whole)), predict(ray.one(cut))
    assert (expected[0], found[0]) == (200, 200)
    assert np.allclose(expected[1]["predictions"], found[1]["predictions"], rtol=1e-5, atol=1e-6)

    gateway = LikeAGateway(ray.one(cut), BODY)
    wait_until(lambda: gateway.succeeded > 20)
    ray.put()
    assert gateway.has_left.wait(60)
    assert gateway.failed == []
    assert gateway.succeeded_while_draining > 0
    for app in (whole, cut):
        wait_until(lambda app=app: ray.status(app["name"])[0] == "ABSENT", within_s=200)


def test_requests_are_refused_while_a_killed_stage_is_replaced_and_answered_after_it(ray: Ray) -> None:
    app = staged(ray, "mlp", stages=2)
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    first = ray.one(app)
    expected = predict(first)[1]
    counted = Counted(first)
    wait_until(lambda: counted.codes[200] > 20)
    before = pid_of(ray, app, "stage-2")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: health(first) == 503, within_s=200)
    assert ask(first, "GET", "/v2/models/mlp/ready")[0] == 503
    assert ask(first, "GET", "/v1/models/mlp")[1]["model_version_status"][0]["state"] == "LOADING"
    wait_until(lambda: health(first) == 200, within_s=START_S)
    answered = counted.codes[200]
    wait_until(lambda: counted.codes[200] > answered + 20)
    counted.stop()

    assert counted.codes[503] > 0
    assert set(counted.codes) == {200, 503}
    assert counted.hints == {"1"}, "each refusal says when to come again"
    assert pid_of(ray, app, "stage-2") != before
    assert ray.one(app) == first, "the first stage itself is not replaced"
    assert predict(first)[1] == expected
    ray.put()
    wait_until(lambda: ray.status(app["name"])[0] == "ABSENT", within_s=200)


def test_each_first_stage_has_a_copy_of_the_second_of_its_own(ray: Ray) -> None:
    app = staged(ray, "mlp", stages=2, replicas=2)
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    both = ray.replicas(app)
    assert [predict(each)[0] for each in both] == [200, 200]
    assert len(both) == 2
    for each in app["deployments"]:
        each["num_replicas"] = 1
    ray.put(app)
    wait_until(lambda: len(ray.replicas(app)) == 1, within_s=200)
    (left,) = ray.replicas(app)
    wait_until(lambda: ray.targets(app["name"]) == [1, 1] and health(left) == 200, within_s=200)
    assert predict(left)[0] == 200
    ray.put()
    wait_until(lambda: ray.status(app["name"])[0] == "ABSENT", within_s=200)


def test_a_model_that_cannot_be_cut_says_so_in_rays_status(ray: Ray) -> None:
    app = staged(ray, "mlp", stages=8)
    ray.put(app)
    wait_until(lambda: ray.status(app["name"])[0] == "DEPLOY_FAILED", within_s=START_S)
    message = ray.status(app["name"])[1]
    assert "fairlead: CannotCut: it can be cut into at most 6 stages" in message, message
    assert "set spec.optimization.parallelism.stages: 6" in message
    ray.put()
    wait_until(lambda: ray.status(app["name"])[0] == "ABSENT", within_s=200)
