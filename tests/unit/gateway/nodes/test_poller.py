"""The client of node directories against the real directory, and against addresses that misbehave on order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from tests.support import node_members

from fairlead_gateway import metrics, settings
from fairlead_gateway.nodes import knowledge, members, poller
from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.discovery import entry, member

DEADLINE_S = 100
A, B = "3f0c9a1b2d", "7ab0c9d1e2"


class Followed:
    """A poller that runs, what it knows, and a way to wait for it."""

    def __init__(self, *nodes: settings.Node) -> None:
        self.known = knowledge.Knowledge()
        self.metrics = metrics.Metrics()
        self.changes = 0
        self._changed = asyncio.Event()
        self.poller = poller.Poller(
            members.StaticNodes(nodes),
            namespace="default",
            known=self.known,
            changed=self._note,
            metrics_=self.metrics,
        )

    def _note(self) -> None:
        self.changes += 1
        self._changed.set()

    def states(self) -> dict[str, str]:
        return {found.replica.name: found.replica.state.value for found in self.known.replicas()}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what a change of the knowledge makes true."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Followed]:
        task = asyncio.create_task(self.poller.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def node_of(environment: NodeEnvironment) -> settings.Node:
    return settings.Node(
        cluster=environment.cluster.partition("/")[2],
        host=environment.directory_host,
        port=environment.directory_port,
    )


def replica(revision: str = A, *, namespace: str = "default") -> entry.Replica:
    return entry.Replica(
        name=entry.make_name(revision), namespace=namespace, model="digits", revision=revision, port=40001
    )


async def test_replicas_of_a_real_directory_appear_drain_and_disappear(tmp_path: Path) -> None:
    environment = node_members.node(tmp_path)
    one, two, foreign = replica(), replica(B), replica(namespace="team-b")
    joined = [member.Member(environment) for _ in range(3)]
    await asyncio.to_thread(joined[0].announce, one)
    try:
        async with Followed(node_of(environment)).running() as followed:
            await followed.until(lambda: followed.states() == {one.name: "Ready"})
            assert followed.known.is_asked()
            (found,) = followed.known.replicas()
            assert (found.node.host, found.replica.port, found.replica.model) == ("127.0.0.1", 40001, "digits")

            await asyncio.to_thread(joined[1].announce, two)
            await asyncio.to_thread(joined[2].announce, foreign)
            await followed.until(lambda: followed.states() == {one.name: "Ready", two.name: "Ready"})
            await asyncio.to_thread(joined[0].drain)
            await followed.until(lambda: followed.states() == {one.name: "Draining", two.name: "Ready"})
            await asyncio.to_thread(joined[0].leave)
            await followed.until(lambda: followed.states() == {two.name: "Ready"})
    finally:
        for each in joined:
            await asyncio.to_thread(each.leave)


async def test_an_unreadable_node_keeps_its_last_answer_and_shows_the_reason(tmp_path: Path) -> None:
    environment = node_members.node(tmp_path)
    one, other = replica(), replica(B)
    first, second = member.Member(environment), member.Member(environment)
    await asyncio.to_thread(first.announce, one)
    async with Followed(node_of(environment)).running() as followed:
        await followed.until(lambda: followed.states() == {one.name: "Ready"})
        # Its last replica is gone with all that it knew: that is no answer.
        await asyncio.to_thread(first.leave)
        async with asyncio.timeout(DEADLINE_S):
            while followed.known.views[0].reason is None:
                await asyncio.sleep(0.01)

        # Either it said before it left that it leaves, or it said nothing more.
        assert followed.states() in ({}, {one.name: "Ready"})
        body = followed.known.views[0].body()
        assert (body["state"], body["cluster"]) == ("Unknown", "default")
        assert "Connect call failed" in str(body["reason"])
        await asyncio.to_thread(second.announce, other)
        try:
            await followed.until(lambda: followed.states() == {other.name: "Ready"})
            assert followed.known.views[0].body()["state"] == "Known"
        finally:
            await asyncio.to_thread(second.leave)


async def test_another_clusters_answer_is_refused_and_asked_again(tmp_path: Path) -> None:
    """Two nodes that share an address by mistake: the kernel picks one of them for each question."""
    mine = node_members.node(tmp_path / "mine")
    other = NodeEnvironment(
        cluster="default/other",
        replica_host=mine.replica_host,
        folder=tmp_path / "other",
        directory_host=mine.directory_host,
        directory_port=mine.directory_port,
    )
    one, foreign = replica(), replica(B)
    joined = (member.Member(mine), member.Member(other))
    for each, which in zip(joined, (one, foreign), strict=True):
        await asyncio.to_thread(each.announce, which)
    try:
        async with Followed(node_of(mine)).running() as followed:
            await followed.until(lambda: followed.states() == {one.name: "Ready"})
            # Until the other's answer was met as well, however often it takes.
            async with asyncio.timeout(DEADLINE_S):
                while "'default/other'" not in str(followed.known.views[0].reason):
                    await asyncio.sleep(0.005)
            assert followed.states() == {one.name: "Ready"}
    finally:
        for each in joined:
            await asyncio.to_thread(each.leave)


class OddDirectory:
    """An address that answers each question with the next of these, then with the last of them for ever."""

    def __init__(self, *answers: web.Response | bytes) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []
        self.note: Callable[[], None] = lambda: None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.note()
        self.asked.append(request.query_string)
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(found, web.Response):
            return web.Response(status=found.status, body=found.body, headers=found.headers)
        return web.Response(body=found, content_type="application/json")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[settings.Node]:
        app = web.Application()
        app.router.add_get("/v1/replicas", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield settings.Node(cluster="default", host="127.0.0.1", port=runner.addresses[0][1])
        finally:
            await runner.cleanup()


def whole(*names: str, version: str = "1") -> bytes:
    listed = [
        {"name": name, "namespace": "default", "model": "digits", "revision": name[:10], "port": 1, "state": "Ready"}
        for name in names
    ]
    return json.dumps({"schema": 1, "cluster": "default/default", "version": version, "replicas": listed}).encode()


async def test_invalid_answers_are_ignored_until_a_valid_one_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "ANSWER_S", DEADLINE_S)
    one, two = f"{A}-0000000000000001", f"{A}-0000000000000002"
    invalid = OddDirectory(
        whole(one),
        b"[",
        b" " * (2 << 20),
        web.Response(status=503),
        web.Response(status=302, headers={"location": "http://127.0.0.1:9/"}),
        web.Response(status=200, body=b"x", headers={"content-encoding": "gzip"}),
        whole(one, two, version="2"),
    )
    async with invalid.running() as node, Followed(node).running() as followed:
        seen: list[set[str]] = []
        while {one, two} not in seen:
            before = followed.changes
            await followed.until(lambda before=before: followed.changes > before or bool(followed.states()))
            seen.append(set(followed.states()))
            await asyncio.sleep(0.005)

        assert all(each in (set(), {one}, {one, two}) for each in seen)
        assert b"fairlead_gateway_node_errors_total 5.0" in followed.metrics.text()
    # After each failure the whole answer is asked for at once, after a good one what is newer.
    assert invalid.asked[:2] == ["", "since=1&wait=2"]
    assert invalid.asked[2:7] == [""] * 5


async def test_a_node_counts_as_asked_once_it_has_failed_three_times_in_a_row() -> None:
    """One failure may be the slow machine's: a gateway that called itself ready then would know no replica."""
    failing = OddDirectory(web.Response(status=503))
    async with failing.running() as node:
        followed = Followed(node)
        seen: list[bool] = []
        failing.note = lambda: seen.append(followed.known.is_asked())
        async with followed.running():
            await followed.until(followed.known.is_asked)

    assert seen[:3] == [False, False, False]
    assert all(seen[3:])


async def test_a_node_that_answers_after_a_failure_counts_as_asked() -> None:
    one = f"{A}-0000000000000001"
    late = OddDirectory(web.Response(status=503), whole(one))
    async with late.running() as node, Followed(node).running() as followed:
        await followed.until(followed.known.is_asked)
        assert followed.states() == {one: "Ready"}


async def test_a_directory_that_ignores_the_wait_is_polled_at_a_bounded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses that are asked for are looked at, not how long they took."""
    monkeypatch.setattr(poller, "ANSWER_S", DEADLINE_S)
    pauses: list[float] = []
    enough = asyncio.Event()

    async def note(pause_s: float) -> None:
        pauses.append(pause_s)
        if len(pauses) == 10:
            enough.set()
            await asyncio.Event().wait()

    invalid = OddDirectory(whole())
    async with invalid.running() as node:
        followed = Followed(node)
        followed.poller.pause = note
        async with followed.running(), asyncio.timeout(DEADLINE_S):
            await enough.wait()

    assert pauses == [poller.NEXT_S] + 9 * [poller.UNCHANGED_S]
    assert len(invalid.asked) == len(pauses)
    assert followed.changes <= 2
