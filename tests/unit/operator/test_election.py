"""The Lease under virtual time, over a stateful stand-in for the API server that refuses stale writes."""

from __future__ import annotations

import asyncio
import copy
import datetime
from typing import Any

import pytest

from fairlead_operator import election
from fairlead_operator.clients import errors

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]


class LoopClock:
    """Virtual time for both: the wall clock may be set wrong by hours."""

    def __init__(self, *, wrong_by_s: float = 0.0) -> None:
        self._wrong_by_s = wrong_by_s

    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.monotonic_s() + self._wrong_by_s, datetime.UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class LeaseServer:
    """One Lease with optimistic locking."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.is_away = False
        self.hangs = False
        self.answers_after_s = 0.0
        self.gets = 0
        self._version = 0

    async def get(self, path: str) -> dict[str, Any]:
        self.gets += 1
        await asyncio.sleep(1e6 if self.hangs else self.answers_after_s)
        self._answer()
        if self.lease is None:
            raise errors.NotFound(path)
        return copy.deepcopy(self.lease)

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if self.lease is not None:
            raise errors.AlreadyExists(path)
        return self._store(body)

    async def replace(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        await asyncio.sleep(1e6 if self.hangs else self.answers_after_s)
        assert self.lease is not None
        if body["metadata"].get("resourceVersion") != self.lease["metadata"]["resourceVersion"]:
            raise errors.Conflict(path)
        return self._store(body)

    @property
    def holder(self) -> str:
        return (self.lease or {"spec": {}})["spec"].get("holderIdentity", "")

    def _answer(self) -> None:
        if self.is_away:
            raise errors.Unreachable("the API server is away")

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(self.lease)


LEASE = election.LeaseName(namespace="fairlead-system", name="fairlead-operator")


def candidate(server: LeaseServer, name: str, *, wrong_by_s: float = 0.0) -> election.Election:
    return election.Election(server, LEASE, identity=name, clock=LoopClock(wrong_by_s=wrong_by_s))


async def test_the_first_process_takes_the_lease_at_once() -> None:
    server = LeaseServer()
    first = candidate(server, "first")
    assert first.remaining_s() == 0
    await first.acquire()
    assert server.holder == "first"
    assert first.remaining_s() == election.LEASE_DURATION_S
    await asyncio.sleep(5)
    assert first.remaining_s() == pytest.approx(10)


async def test_a_second_process_waits_for_the_whole_lease_duration() -> None:
    server = LeaseServer()
    first, second = candidate(server, "first"), candidate(server, "second", wrong_by_s=7200)
    await first.acquire()
    began_s = asyncio.get_running_loop().time()
    await second.acquire()
    waited_s = asyncio.get_running_loop().time() - began_s
    assert election.LEASE_DURATION_S <= waited_s <= election.LEASE_DURATION_S + 2 * election.RETRY_PERIOD_S
    assert first.remaining_s() == 0, "the first one knew before the second took it"


async def test_every_process_knows_how_often_the_lease_passed_to_another() -> None:
    server = LeaseServer()
    first, second, third = (candidate(server, name) for name in ("first", "second", "third"))
    await first.acquire()
    await second.acquire()
    waiting = asyncio.create_task(third.acquire())
    await asyncio.sleep(election.RETRY_PERIOD_S)
    assert (second.transitions, third.transitions) == (1, 1)
    waiting.cancel()


async def test_two_processes_never_hold_the_lease_together() -> None:
    server = LeaseServer()
    both = [candidate(server, name) for name in ("a", "b")]
    tasks = [asyncio.create_task(one.acquire()) for one in both]
    for _ in range(100):
        await asyncio.sleep(0.5)
        assert sum(one.is_held for one in both) <= 1
    for task in tasks:
        task.cancel()


async def test_renewals_keep_the_lease() -> None:
    server = LeaseServer()
    first, second = candidate(server, "first"), candidate(server, "second")
    await first.acquire()
    lost: list[float] = []
    keeping = asyncio.create_task(first.keep(lambda: lost.append(1.0)))
    asking = asyncio.create_task(second.acquire())
    for _ in range(200):
        await asyncio.sleep(3)
        assert first.remaining_s() > 10
    assert not asking.done()
    assert not lost
    for task in (keeping, asking):
        task.cancel()


async def test_a_renewal_is_one_request_while_nobody_else_writes_the_lease() -> None:
    server = LeaseServer()
    first = candidate(server, "first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep(lambda: None))
    await asyncio.sleep(3 * election.RETRY_PERIOD_S)
    gets = server.gets
    await asyncio.sleep(60)
    assert server.gets == gets
    assert first.is_held
    keeping.cancel()


async def test_a_lost_lease_is_noticed_before_another_process_can_hold_it() -> None:
    server = LeaseServer()
    first = candidate(server, "first")
    await first.acquire()
    lost: list[float] = []
    loop = asyncio.get_running_loop()
    keeping = asyncio.create_task(first.keep(lambda: lost.append(loop.time())))
    await asyncio.sleep(20)
    server.is_away = True
    away_s = loop.time()
    await keeping
    assert lost[0] - away_s <= election.RENEW_DEADLINE_S + 2 * election.RETRY_PERIOD_S
    assert lost[0] - away_s < election.LEASE_DURATION_S
    assert not first.is_held


async def test_a_slow_renewal_ends_when_another_process_may_hold_the_lease() -> None:
    server = LeaseServer()
    server.answers_after_s = 2.4
    first = candidate(server, "first")
    await first.acquire()
    loop = asyncio.get_running_loop()
    lost: list[float] = []
    keeping = asyncio.create_task(first.keep(lambda: lost.append(loop.time())))
    held_until_s = loop.time() + first.remaining_s()
    while loop.time() + first.remaining_s() == held_until_s:  # until one slow renewal has ended
        await asyncio.sleep(0.1)
    held_until_s = loop.time() + first.remaining_s()
    server.hangs = True
    await keeping
    assert lost == [pytest.approx(held_until_s)]


async def test_only_a_process_that_held_the_lease_can_lose_it() -> None:
    server = LeaseServer()
    first, second = candidate(server, "first"), candidate(server, "second")
    await first.acquire()
    assert not first.has_run_out
    assert not second.has_run_out
    await asyncio.sleep(election.LEASE_DURATION_S)
    assert first.has_run_out
    assert not second.has_run_out


async def test_a_short_outage_keeps_the_lease() -> None:
    server = LeaseServer()
    first = candidate(server, "first")
    await first.acquire()
    lost: list[bool] = []
    keeping = asyncio.create_task(first.keep(lambda: lost.append(True)))
    server.is_away = True
    await asyncio.sleep(6)
    server.is_away = False
    await asyncio.sleep(60)
    assert first.is_held
    assert not lost
    keeping.cancel()


async def test_a_lease_taken_by_another_process_is_lost_at_the_next_renewal() -> None:
    server = LeaseServer()
    first = candidate(server, "first")
    await first.acquire()
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = "thief"
    lost: list[bool] = []
    await first.keep(lambda: lost.append(True))
    assert lost == [True]


async def test_a_released_lease_is_free_at_once() -> None:
    server = LeaseServer()
    first, second = candidate(server, "first"), candidate(server, "second")
    await first.acquire()
    await first.release()
    assert not first.is_held
    began_s = asyncio.get_running_loop().time()
    await second.acquire()
    assert asyncio.get_running_loop().time() - began_s < 1
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] >= 1


async def test_the_api_server_counts_as_reachable_after_a_recent_answer() -> None:
    server = LeaseServer()
    first, second = candidate(server, "first"), candidate(server, "second")
    await first.acquire()
    asking = asyncio.create_task(second.acquire())
    await asyncio.sleep(1)
    assert second.is_in_touch
    assert not second.is_held
    server.is_away = True
    await asyncio.sleep(election.LEASE_DURATION_S + 5)
    assert not second.is_in_touch
    asking.cancel()
