"""Shadowing on a real gateway with real servers of replicas: the caller never waits for it, the counts tell of it."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import replica_parts
from tests.support.gateway_process import Gateway, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.shadow import mirror

pytestmark = pytest.mark.real

STABLE, CANDIDATE = "aaaaaaaaaa", "bbbbbbbbbb"
ROW = [0.1, 0.2, 0.9, 0.3]
WORKER_CALL_S = 1.0
"""What a model says of itself to be called on a thread, where it may block."""


def reverse(inputs: Tensors) -> Tensors:
    """Another class than the doubling model says, with the same scores."""
    return tuple(np.ascontiguousarray(array[:, ::-1]) for array in inputs)


class World:
    """A gateway, a stable revision that doubles its rows, and a candidate that a test chooses."""

    def __init__(self, gateway: Gateway, node: NodeEnvironment, stack: contextlib.ExitStack) -> None:
        self.gateway = gateway
        self._node = node
        self._stack = stack
        self.stable = self.replica(STABLE, timeout_s=300)

    def replica(self, name: str, *, stack: contextlib.ExitStack | None = None, **setting: Any) -> replica_parts.Running:
        signature = replica_parts.float_signature(rows=None)
        wanted = replica_parts.Setting(signature=signature, revision=name, node=self._node, **setting)
        return (stack or self._stack).enter_context(replica_parts.running(wanted))

    def shadow(self, share: int = 10_000) -> None:
        """Copy the share to the candidate."""
        revisions = {STABLE: revision(), CANDIDATE: revision()}
        self.gateway.apply(digits=spec(STABLE, revisions, candidate=CANDIDATE, shadow=share))
        self.gateway.wait_up("digits", STABLE)

    def ask(self, count: int = 1) -> None:
        """So many predictions, each answered by the stable revision before the next."""
        body = json.dumps({"instances": [ROW]}).encode()
        for _ in range(count):
            answer = fetch(f"{self.gateway.url}/v1/models/digits:predict", body=body)
            assert (answer.status, answer.headers["x-fairlead-revision"]) == (200, STABLE)

    def ask_v2(self) -> None:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}
        answer = fetch(f"{self.gateway.url}/v2/models/digits/infer", body=json.dumps({"inputs": [tensor]}).encode())
        assert (answer.status, answer.headers["x-fairlead-revision"]) == (200, STABLE)

    def pairs(self) -> dict[str, int]:
        """What the stable's replica counted by itself."""
        return self.stable.parts.metrics.measured.pairs(CANDIDATE).body()

    def measured(self) -> dict[str, Any]:
        return dict(self.gateway.measurements("digits")["revisions"][CANDIDATE])

    def until(self, condition: Callable[[dict[str, int]], bool], what: str) -> None:
        until(lambda: condition(self.pairs()), what, explain=self.pairs)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    node = make_node(tmp_path / "node")
    gateway = Gateway(tmp_path / "gateway", nodes=[node])
    gateway.start()
    try:
        with contextlib.ExitStack() as stack:
            yield World(gateway, node, stack)
    finally:
        gateway.stop()


def test_a_candidate_that_answers_differently_is_counted_by_the_gateway(world: World) -> None:
    world.replica(CANDIDATE, model=reverse)
    world.shadow()
    world.gateway.wait_up("digits", CANDIDATE)
    world.ask()
    until(
        lambda: sum(world.gateway.measurements("digits")["revisions"][STABLE]["scores"]["counts"]) or world.ask(),
        "the stable's replica is read",
    )
    world.until(lambda pairs: pairs["pairs"] > 0, "the first copies")
    before, requests = world.measured(), world.measured()["requests"]["total"]
    counted = world.pairs()

    world.ask(20)
    for _ in range(5):
        world.ask_v2()
    world.until(lambda pairs: pairs["pairs"] == counted["pairs"] + 25, "25 pairs more")

    assert world.pairs()["disagreed"] == world.pairs()["pairs"]
    disagreed = before["shadow"]["disagreed"] + 25
    until(lambda: world.measured()["shadow"]["disagreed"] >= disagreed, "the gateway reports it")
    assert world.measured()["requests"]["total"] == requests, "copies are no requests of clients"


def test_a_candidate_that_answers_the_same_agrees(world: World) -> None:
    world.replica(CANDIDATE)
    world.shadow()
    world.gateway.wait_up("digits", CANDIDATE)

    world.ask(10)
    world.ask_v2()
    world.until(lambda pairs: pairs["pairs"] == 11, "11 pairs")

    assert world.pairs() == {"pairs": 11, "disagreed": 0, "failed": 0, "dropped": 0}


def test_clients_get_answers_while_the_shadow_candidate_hangs_and_excess_copies_are_dropped(
    world: World,
) -> None:
    gate = threading.Event()
    held = replica_parts.DoublingModel(gate=gate)
    world.replica(CANDIDATE, model=held, call_s=WORKER_CALL_S)
    world.shadow()
    world.gateway.wait_up("digits", CANDIDATE)
    fits = mirror.IN_FLIGHT_MAX + mirror.QUEUED_MAX

    # Not one copy is answered before all of these were.
    world.ask(fits + 30)

    assert world.pairs() == {"pairs": 0, "disagreed": 0, "failed": 0, "dropped": 30}
    gate.set()
    world.until(lambda pairs: pairs["pairs"] == fits, "what had queued is compared in the end")


def test_clients_get_answers_while_the_shadow_candidate_is_dead(world: World) -> None:
    with contextlib.ExitStack() as short:
        world.replica(CANDIDATE, stack=short)
        world.shadow()
        world.gateway.wait_up("digits", CANDIDATE)

    world.ask(20)
    world.until(lambda pairs: pairs["failed"] == 20, "each copy failed")

    assert world.pairs()["pairs"] == 0


def test_only_the_share_is_copied(world: World) -> None:
    world.replica(CANDIDATE)
    world.shadow(share=2500)
    world.gateway.wait_up("digits", CANDIDATE)

    world.ask(40)
    world.until(lambda pairs: pairs["pairs"] >= 10, "a quarter of 40")

    assert world.pairs()["pairs"] == 10
