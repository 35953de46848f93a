"""Two nodes whose replicas come, drain, die and hang under a counting client, with a real gateway in front."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support import counting_client, request_counts
from tests.support.gateway_process import Gateway, Replicas, StandIn, make_node, revision, spec
from tests.support.until import until

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
_NUMBERS = itertools.count()


def route(stable: str, revisions: Mapping[str, Mapping[str, Any]], **changed: Any) -> dict[str, Any]:
    """A route that gives a replica of a busy machine time to answer."""
    return spec(stable, revisions, requestTimeoutSeconds=120, **changed)


class World:
    """The model `digits` with revision A on two nodes of one cluster."""

    def __init__(self, gateway: Gateway, replicas: Replicas, nodes: tuple[object, ...]) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self.nodes = itertools.cycle(nodes)
        self.living: list[StandIn] = []
        self.revision = A
        self.random = random.Random(1)
        self.delays_s: list[float] = []
        """From a new replica that listens to its first request through the gateway."""
        self.apply()

    def apply(self, **changed: object) -> None:
        self.gateway.apply(digits=route(self.revision, {self.revision: revision()}, **changed))

    def load(self, connections: int = 12) -> counting_client.Background:
        asked = counting_client.Settings(
            url=self.gateway.url,
            model="digits",
            bodies=(b'{"inputs":[]}',),
            connections=connections,
            rate_limit=request_counts.limit(400.0),
            timeout_s=90,
        )
        return counting_client.Background(asked)

    def start(self, name: str | None = None) -> StandIn:
        """Start one on the next node, without waiting for the gateway."""
        started = self.replicas.start("digits", name or self.revision, node=next(self.nodes))  # type: ignore[arg-type]
        self.living.append(started)
        return started

    def start_and_meet(self) -> None:
        """Start one, and note how long it takes until it has answered a request."""
        began = self.start()
        listed = time.monotonic()
        until(lambda: began.name in self.up(), f"{began.name} is up", poll_s=0.002, deadline_s=120)
        self.delays_s.append(time.monotonic() - listed)

    def up(self) -> set[str]:
        """The replicas that HAProxy would send a request to, by what it says itself."""
        return self.gateway.servers_up()

    def settle(self) -> None:
        """Wait until HAProxy has exactly the living ones of the serving revision."""
        expected = {each.name for each in self.living if each.name.startswith(self.revision)}
        until(lambda: self.up() == expected, "exactly the living ones are up", explain=self.gateway.routes)

    def kill(self, which: StandIn | None = None) -> None:
        victim = which or self.random.choice(self.living)
        self.living.remove(victim)
        victim.kill()

    def drain(self) -> None:
        victim = self.living.pop(0)
        victim.process.send_signal(signal.SIGTERM)
        victim.process.wait(60)


@contextlib.contextmanager
def moving_replicas(root: Path, *, start: int = 2) -> Iterator[World]:
    """A world with so many replicas that are up."""
    nodes = (make_node(root / "one", host="127.0.1.1"), make_node(root / "two", host="127.0.1.2"))
    gateway, replicas = Gateway(root / "gateway", nodes=nodes), Replicas(nodes[0])
    try:
        gateway.start()
        world = World(gateway, replicas, nodes)
        for _ in range(start):
            world.start()
        world.settle()
        yield world
    finally:
        gateway.stop()
        replicas.stop()


def scale(world: World) -> None:
    """One replica to four and back, while requests come."""
    while len(world.living) < 4:
        world.start_and_meet()
    while len(world.living) > 1:
        world.drain()
    world.settle()


def succeed(world: World) -> None:
    """The only replica drains at the moment at which its successor is listed, as when Ray empties a node."""
    while len(world.living) > 1:
        world.drain()
    for _ in range(3):
        world.start()
        world.drain()
    world.settle()


def kill_one(world: World) -> None:
    """SIGKILL of one of three, while another one starts."""
    while len(world.living) < 3:
        world.start_and_meet()
    world.settle()
    world.kill()
    world.start_and_meet()


def kill_agent(world: World) -> None:
    """The agent dies, a replica dies and one starts meanwhile, the agent comes back."""
    while len(world.living) < 3:
        world.start_and_meet()
    world.settle()
    world.gateway.kill_agent()
    world.kill()
    world.start()
    world.gateway.start()
    until(world.gateway.is_ready, "the new agent is ready")
    world.settle()


def reload_only(world: World) -> None:
    """A reload: a name that was never asked for is another configuration, with a candidate that has no replica."""
    before = world.gateway.metric("fairlead_gateway_haproxy_reloads_total")
    name = world.revision
    world.gateway.apply(
        digits=route(
            name,
            {name: revision(), "cccccccccc": revision()},
            candidate="cccccccccc",
            match=[{"header": f"x-{next(_NUMBERS)}", "value": "1"}],
        )
    )
    assert world.gateway.metric("fairlead_gateway_haproxy_reloads_total") == before + 1
    assert world.up() >= {each.name for each in world.living}, "they are up from the new worker's start"


def reload(world: World) -> None:
    """A reload between a start and a kill."""
    while len(world.living) < 3:
        world.start_and_meet()
    world.settle()
    reload_only(world)
    world.start_and_meet()
    world.kill()
    world.apply()


def swap_revision(world: World) -> None:
    """Another revision takes over, without a reload; the old one ends."""
    while len(world.living) < 2:
        world.start_and_meet()
    before = world.gateway.metric("fairlead_gateway_haproxy_reloads_total")
    old, new = world.revision, B if world.revision == A else A
    leaving = list(world.living)
    world.gateway.apply(digits=route(old, {old: revision(), new: revision()}, candidate=new))
    arrived = [world.start(new) for _ in range(2)]
    until(lambda: world.gateway.up("digits", new) == 2, "the new revision is up")
    world.gateway.apply(digits=route(new, {old: revision(), new: revision()}))
    world.revision, world.living = new, leaving
    for _ in leaving.copy():
        world.drain()
    world.living = arrived
    world.apply()
    assert world.gateway.metric("fairlead_gateway_haproxy_reloads_total") == before


def stop_one(world: World) -> None:
    """One of three hangs and goes on: no directory sees that, a check does."""
    while len(world.living) < 3:
        world.start_and_meet()
    world.settle()
    victim = world.living[0]
    os.kill(victim.process.pid, signal.SIGSTOP)
    until(lambda: victim.name not in world.up(), "the hanging one is out", deadline_s=60)
    os.kill(victim.process.pid, signal.SIGCONT)
    world.settle()


STORIES: dict[str, Callable[[World], None]] = {
    "scale 1→4→1": scale,
    "the only one is succeeded": succeed,
    "kill while another starts": kill_one,
    "agent killed": kill_agent,
    "reload between start and kill": reload,
    "another revision": swap_revision,
    "one hangs": stop_one,
}
