"""A model without requests has no replica, and its next requests wait for one: real Ray, real HAProxy, no failure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_for_good, start_operator
from tests.e2e.stage import Model, Stage, condition
from tests.support import request_counts
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
CLIENTS = 200
ROUNDS = request_counts.at_least(10)
IDLE_S = 10
HOLD_S = 600
"""The largest that a model may have: how soon a replica starts on a busy machine is not asserted here."""
TABLE = "To zero and back"


def scaling(**to_zero: int) -> dict[str, Any]:
    return {
        "minReplicas": 0,
        "maxReplicas": 2,
        "target": {"ongoingRequests": 8},
        "scaleToZero": {"idleSeconds": IDLE_S, "holdSeconds": HOLD_S, **to_zero},
    }


class Clients:
    """Each request comes over a connection of its own, and is timed."""

    def __init__(self, stage: Stage, model: Model) -> None:
        settings = model.load()
        self._path, self._body = f"/v2/models/{model.name}/infer", settings.bodies[0]
        self._pool = ThreadPoolExecutor(max_workers=CLIENTS)
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=0)
        self._http = httpx.Client(base_url=stage.local.gateway_url, timeout=2 * HOLD_S, limits=limits)

    def ask(self) -> Future[tuple[httpx.Response, float]]:
        return self._pool.submit(self._timed)

    def _timed(self) -> tuple[httpx.Response, float]:
        began_s = time.monotonic()
        answer = self._http.post(self._path, content=self._body, headers={"content-type": "application/json"})
        return answer, time.monotonic() - began_s

    def close(self) -> None:
        self._pool.shutdown()
        self._http.close()


@contextmanager
def at_zero(stage: Stage, name: str, **to_zero: int) -> Iterator[tuple[Model, Clients, Any]]:
    """A model at zero, clients of it, and the outputs that are right for what they ask."""
    with stage.deployed(name, label="v1", scaling=scaling(**to_zero)) as model:
        clients = Clients(stage, model)
        try:
            expected = clients.ask().result()[0].raise_for_status().json()["outputs"]
            until_at_zero(stage, model)
            yield model, clients, expected
        finally:
            clients.close()


def until_at_zero(stage: Stage, model: Model) -> None:
    """The status says so, Ray has nothing of the model, and the gateway no server."""
    model.until("at zero", lambda found: "atZeroSince" in found["status"])
    until(lambda: not stage.ray.applications(model.name), f"{model.name} gone from Ray", deadline_s=400)
    model.until_up(0)


def is_right(outputs: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Equal but for the last digits: requests that wait together share a call, whose size changes how floats add up."""
    (one,), (other,) = outputs, expected
    return {**one, "data": pytest.approx(one["data"], rel=1e-4, abs=1e-6)} == other


def until_held(stage: Stage, model: Model, count: int) -> None:
    until(
        lambda: stage.live().get(model.name, {}).get("hold", {}).get("waiting") == count,
        f"{count} requests of {model.name} held",
        deadline_s=400,
        explain=model.explain,
    )


def test_the_first_requests_of_two_hundred_clients_are_answered(stage: Stage) -> None:
    with at_zero(stage, "sleeper") as (model, clients, expected):
        found = model.until("at rest", lambda found: condition(found, "Reconciling").get("status") == "False")
        for kind in ("Ready", "Available"):
            assert (condition(found, kind)["status"], condition(found, kind)["reason"]) == ("True", "AtZero")
        assert found["status"]["scaling"]["message"].endswith("; the next request starts one.")

        answers = [each.result() for each in [clients.ask() for _ in range(CLIENTS)]]

        refused = {(answer.status_code, answer.text, round(took_s)) for answer, took_s in answers if answer.is_error}
        assert not refused, f"{sorted(refused)[:5]} of {len(refused)}\n{model.explain()}"
        assert all(is_right(answer.json()["outputs"], expected) for answer, _ in answers)
        times_s = sorted(took_s for _, took_s in answers)
        spread = {"first s": round(times_s[0], 2), "last s": round(times_s[-1], 2)}
        RESULTS.add(TABLE, {"what": f"first requests of {CLIENTS} clients at once", "failed": 0, **spread})


@pytest.mark.nightly
def test_to_zero_and_back_again_and_again(stage: Stage) -> None:
    with at_zero(stage, "trickle") as (model, clients, expected):
        times_s: list[float] = []
        for _ in range(ROUNDS):
            answer, took_s = clients.ask().result()
            assert (answer.status_code, answer.json().get("outputs")) == (200, expected), answer.text
            times_s.append(took_s)
            until_at_zero(stage, model)
        times_s.sort()
        spread = {"first s": round(times_s[0], 2), "last s": round(times_s[-1], 2)}
        RESULTS.add(TABLE, {"what": f"{ROUNDS} times to zero and back", "failed": 0, **spread})


def test_a_held_request_outlives_the_operator(stage: Stage) -> None:
    with at_zero(stage, "unwatched") as (model, clients, expected):
        kill_for_good(stage.local, "operator")
        asked = clients.ask()
        until_held(stage, model, 1)
        start_operator(stage.local)

        answer, took_s = asked.result()

        assert (answer.status_code, answer.json().get("outputs")) == (200, expected), answer.text
        row = {"first s": round(took_s, 2), "last s": round(took_s, 2)}
        RESULTS.add(TABLE, {"what": "the operator killed and started while a request is held", "failed": 0, **row})


@pytest.mark.nightly
def test_requests_beyond_the_bounds_are_refused_with_retry_after(stage: Stage) -> None:
    serving = {"maxOngoingRequests": 2, "maxQueuedRequests": 1}
    with at_zero(stage, "bounded", holdSeconds=40) as (model, clients, _):
        model.apply(
            "v1", label="v1", scaling={**scaling(holdSeconds=40), "target": {"ongoingRequests": 3}}, serving=serving
        )
        model.until_settled()
        until_at_zero(stage, model)
        kill_for_good(stage.local, "operator")
        try:
            held = [clients.ask() for _ in range(3)]
            until_held(stage, model, 3)
            refused, took_s = clients.ask().result()
            answers = [each.result() for each in held]
        finally:
            start_operator(stage.local)

        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert took_s < min(took for _, took in answers)
        assert {(answer.status_code, answer.headers["retry-after"]) for answer, _ in answers} == {(503, "5")}
        assert all("no replica was ready within 40000 ms" in answer.json()["error"] for answer, _ in answers)


def waits_for_room(found: dict[str, Any]) -> bool:
    message = found["status"].get("scaling", {}).get("message", "")
    return condition(found, "Available").get("status") == "False" and "for room on the Ray cluster" in message


@pytest.mark.nightly
def test_without_room_the_request_is_refused_and_the_model_says_why(stage: Stage) -> None:
    large = {"resources": {"cpu": "5", "memory": "400Mi"}}
    with stage.deployed("cramped", label="v1", scaling=scaling(holdSeconds=10), serving=large) as model:
        clients = Clients(stage, model)
        until_at_zero(stage, model)
        with stage.deployed("greedy", label="v1", serving=large):
            answer, _ = clients.ask().result()

            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            model.until("not available, without room", waits_for_room)
        model.until_up(1)
        assert clients.ask().result()[0].status_code == 200
        clients.close()
