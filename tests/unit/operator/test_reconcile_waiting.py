"""A model that waits asks the API server nothing, and is looked at again in time."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator import composition, drafts, health, queue, reconcile, sweep, telemetry, waiting
from fairlead_operator.effects import execute, status
from fairlead_operator.observe import snapshot
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, keys, knowledge, reasons, route
from fairlead_operator.state.rollout import Serving
from fairlead_operator.status import summary

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]
KEY = keys.ModelKey(builders.NAMESPACE, builders.NAME)


class LoopClock:
    def now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.monotonic_s(), datetime.UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Place:
    """One model whose plan, status patch and evidence a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetches: list[float] = []
        self.looked: list[str] = []
        self.may_complete = asyncio.Event()
        self.may_complete.set()
        self.plans = 0
        self.requeue_after_s = builders.BOUNDS.poll_s
        self.deadline_s = float("inf")
        self.evidence = b"1"
        self.pending = False
        self.work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
        self.view = builders.model_deployment()
        monkeypatch.setattr(planner, "make", self.plan)
        monkeypatch.setattr(summary, "summarise", self.summarise)
        namespaces: Any = lambda _: self  # noqa: E731 - there is one
        observer: Any = SimpleNamespace(fetch=self.fetch, measure=self.measure, look=self.look)
        hands: Any = SimpleNamespace(nudge=lambda _: None, api=self, namespace=namespaces)
        api: Any = self
        sender: Any = SimpleNamespace(send=self.send)
        self.waits = waiting.Waiting(self.work, namespaces, clock=LoopClock())
        self.metrics = telemetry.Metrics()
        parts = reconcile.Parts(
            observer=observer,
            namespaces=namespaces,
            waits=self.waits,
            composed=composition.Composition(),
            hands=hands,
            statuses=drafts.StatusWriter(api, sender, clock=LoopClock(), metrics=self.metrics),
            bounds=builders.BOUNDS,
            clock=LoopClock(),
            metrics=self.metrics,
            missing_fields=tuple,
        )
        reads: Any = self
        self.swept = sweep.Sweep(
            work=self.work,
            reads=reads,
            namespaces=namespaces,
            waits=self.waits,
            composed=parts.composed,
            watched=health.WatchLedger(clock=LoopClock()),
            metrics=self.metrics,
            clock=LoopClock(),
            on_listed=lambda _: None,
        )
        ray: Any = None
        made = reconcile.Reconciler(parts, self.work, swept=self.swept, ray=ray)
        self.worker = asyncio.create_task(queue.work(self.work, made.handle))

    clusters = ()

    def is_pending(self) -> bool:
        return self.pending

    def routes(self) -> dict[str, str]:
        return {}

    def gateways(self) -> knowledge.Unknown:
        return knowledge.Unknown("there is none")

    async def list_pages(self, _: str) -> AsyncIterator[Any]:
        metadata = {"namespace": KEY.namespace, "name": KEY.name, "uid": self.view.uid}
        yield {"items": [{"metadata": {**metadata, "resourceVersion": self.view.resource_version}}]}

    def hurry(self) -> None:
        """Nothing is read here."""

    def world(self) -> Any:
        return SimpleNamespace(has_unknown=False, hash_model=lambda *_, **__: self.evidence)

    async def fetch(self, _: keys.ModelKey) -> Any:
        self.fetches.append(asyncio.get_running_loop().time())
        return self.view

    async def measure(self, look: snapshot.Look) -> snapshot.Look:
        await self.may_complete.wait()
        return look

    def send(self, *_: Any, **__: Any) -> None:
        """Events go nowhere."""

    def look(self, _: keys.ModelKey, view: Any) -> snapshot.Look:
        self.looked.append(view.resource_version)
        return snapshot.Look(
            seen=builders.observed(object=knowledge.Known(view)), evidence=self.evidence, hot_evidence=self.evidence
        )

    async def merge_patch(self, *_: Any) -> Any:
        return {}

    def wrote_revision(self, _: Any) -> None:
        """Nothing is kept here."""

    def plan(self, *_: Any) -> actions.Plan:
        self.plans += 1
        is_late = asyncio.get_running_loop().time() >= self.deadline_s
        return actions.Plan(
            key=KEY,
            action=actions.DeleteRevision(name="n", revision="r") if is_late else actions.Wait(),
            serving=Serving(),
            reason=reasons.Reason.STARTING,
            message="",
            requeue_after_s=self.requeue_after_s,
        )

    def summarise(self, *_: Any, **__: Any) -> actions.StatusUpdate:
        now = LoopClock().now()
        return actions.StatusUpdate(key=KEY, status={}, patch=None, events=(), written_at=now)


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    made = Place(monkeypatch)
    yield made
    made.worker.cancel()


async def test_a_waiting_model_makes_no_request_and_is_planned_at_growing_intervals(place: Place) -> None:
    place.work.add(KEY)
    await asyncio.sleep(1)
    assert len(place.fetches) == 1
    plans = place.plans
    await asyncio.sleep(60)
    assert len(place.fetches) == 1
    assert 8 <= place.plans - plans <= 16


async def test_a_deadline_is_noticed_while_waiting_and_the_object_is_read_before_acting(
    place: Place,
) -> None:
    place.work.add(KEY)
    place.deadline_s = 42.0
    await asyncio.sleep(41)
    assert len(place.fetches) == 1
    await asyncio.sleep(reconcile.REST_MAX_S + 1)
    assert place.deadline_s <= place.fetches[1] <= place.deadline_s + reconcile.REST_MAX_S


async def test_a_change_of_its_own_evidence_queues_a_model_at_once(place: Place) -> None:
    place.work.add(KEY)
    await asyncio.sleep(30)
    plans = place.plans
    place.evidence = b"2"
    place.waits.on_answer(KEY.namespace)
    await asyncio.sleep(0.01)
    assert place.plans == plans + 1
    assert len(place.fetches) == 1, "the object is read again only where something has to be done"


async def test_an_idle_model_has_no_pass_until_its_evidence_changes(place: Place) -> None:
    place.requeue_after_s = builders.BOUNDS.resync_s
    place.work.add(KEY)
    await asyncio.sleep(3600)
    assert (len(place.fetches), place.plans) == (1, 1)
    held = place.waits.get(KEY)
    assert held is not None
    assert held.view is None, "ten thousand idle objects are not kept in memory"
    place.evidence = b"2"
    place.waits.on_answer(KEY.namespace)
    await asyncio.sleep(0.01)
    assert len(place.fetches) == 2


async def test_a_pass_waits_for_an_answer_that_is_on_its_way(place: Place) -> None:
    place.pending = True
    place.work.add(KEY)
    await asyncio.sleep(0.5)
    assert place.plans == 0
    place.pending = False
    place.waits.on_answer(KEY.namespace)
    await asyncio.sleep(0.01)
    assert place.plans == 1


async def test_a_listing_from_before_a_write_is_not_used_by_a_later_pass(place: Place) -> None:
    place.may_complete.clear()
    place.work.add(KEY)
    await asyncio.sleep(0.1)
    await place.swept.resync(KEY.namespace)
    place.may_complete.set()
    await asyncio.sleep(1)
    for version in ("2", "3"):
        place.view = builders.model_deployment(resource_version=version)
        place.swept.notice(KEY, version=version, intent=version)
        await asyncio.sleep(1)
    versions = [version for version, _ in itertools.groupby(place.looked)]
    assert versions == ["1", "2", "3"], "what should run is composed from each of these: none may be an older object"


async def test_a_request_during_a_pass_is_read_by_the_next_one(place: Place) -> None:
    place.swept.notice(KEY, version="1", intent="generation 1")
    place.may_complete.clear()
    await asyncio.sleep(0.1)
    assert place.looked == ["1"]
    place.view = builders.model_deployment(resource_version="2")
    place.swept.notice(KEY, version="2", intent="a request")
    place.may_complete.set()
    await asyncio.sleep(1)
    assert place.looked[-1] == "2"
    assert len(place.fetches) == 2


async def test_the_first_pass_after_the_start_uses_the_listed_object(place: Place) -> None:
    place.requeue_after_s = builders.BOUNDS.resync_s
    await place.swept.resync(KEY.namespace)
    place.swept.notice(KEY, version=place.view.resource_version, intent="generation 1")
    await asyncio.sleep(1)
    assert place.looked
    assert place.fetches == []


class Steps:
    """A model whose passes have a script: of each the action, and the status that it decides on."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch, *script: tuple[actions.Action, int]) -> None:
        self.done: list[str] = []
        self.stored = 0
        self.passes = iter(script)
        self.script = script
        self.now: tuple[actions.Action, int] = script[0]
        self.place = place
        monkeypatch.setattr(planner, "make", self.plan)
        monkeypatch.setattr(summary, "summarise", self.summarise)
        monkeypatch.setattr(execute, "execute", self.execute)
        monkeypatch.setattr(status, "write_status", self.write)

    def plan(self, *_: Any) -> actions.Plan:
        self.now = next(self.passes, self.script[-1])
        is_last = self.now is self.script[-1]
        return actions.Plan(
            key=KEY,
            action=self.now[0],
            serving=Serving(),
            reason=reasons.Reason.STARTING,
            message="",
            requeue_after_s=builders.BOUNDS.poll_s if is_last else 0.0,
        )

    def summarise(self, _: Any, view: Any, *__: Any, **___: Any) -> actions.StatusUpdate:
        new, old = self.now[1], view.status.replicas
        patch = {"replicas": new} if new != old else None
        return actions.StatusUpdate(
            key=KEY, status={"replicas": new}, patch=patch, events=(), written_at=LoopClock().now()
        )

    async def execute(self, plan: actions.Plan, _: Any) -> actions.Outcome:
        if not isinstance(plan.action, actions.Wait):
            self.done.append(type(plan.action).__name__)
        return actions.Done()

    async def write(self, _: Any, update: actions.StatusUpdate, *, resource_version: str) -> Any:
        self.stored += 1
        self.done.append(f"status {update.status['replicas']} on {resource_version}")
        metadata = {"namespace": KEY.namespace, "name": KEY.name, "uid": self.place.view.uid}
        metadata["resourceVersion"] = str(int(resource_version) + 1)
        return {"metadata": metadata, "spec": {"model": {"uri": "file:///m"}}, "status": dict(update.status)}


ROUTE = actions.DeleteRoute()


async def test_steps_that_follow_each_other_are_one_status_and_it_is_written_before_traffic_moves(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = actions.PinDigest(name="n", revision="r", digest="d")
    steps = Steps(
        place, monkeypatch, (actions.Wait(), 1), (pin, 2), (actions.Wait(), 3), (ROUTE, 4), (actions.Wait(), 4)
    )
    place.work.add(KEY)
    await asyncio.sleep(0.01)
    assert steps.done == ["PinDigest", "status 3 on 1", "DeleteRoute"]
    await asyncio.sleep(1)
    assert steps.done[3:] == ["status 4 on 2"], "what nobody waits for is written a moment later"
    assert len(place.fetches) == 1, "each write is of the version that was read: nobody has to read it again"


def first_route(stable: str | None) -> actions.WriteRoute:
    entry = route.RouteEntry(
        stable=stable,
        candidate=None if stable else "30b6439bf5",
        candidate_weight=0,
        revisions={},
        max_request_bytes=1,
        request_timeout_s=1,
    )
    return actions.WriteRoute(entry=entry, owner_uid="u", is_first=True)


@pytest.mark.parametrize(
    ("entry", "is_written_first"),
    [
        (first_route(None), False),
        (first_route("30b6439bf5"), True),
        (replace(first_route(None), is_first=False), True),
    ],
)
async def test_a_first_route_that_sends_requests_nowhere_needs_no_status_before_it(
    place: Place, monkeypatch: pytest.MonkeyPatch, entry: actions.WriteRoute, is_written_first: bool
) -> None:
    pin = actions.PinDigest(name="n", revision="r", digest="d")
    steps = Steps(place, monkeypatch, (actions.Wait(), 1), (pin, 2), (entry, 3), (actions.Wait(), 3))
    place.work.add(KEY)
    await asyncio.sleep(0.01)
    statuses = ["status 2 on 1"] if is_written_first else []
    assert steps.done == ["PinDigest", *statuses, "WriteRoute"]


async def test_a_crowd_s_statuses_that_nobody_waits_for_are_written_a_bounded_time_later(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5000):
        place.waits.hold(keys.ModelKey(KEY.namespace, f"m{number}"), waiting.Held(evidence=place.evidence, is_hot=True))
    steps = Steps(place, monkeypatch, (actions.Wait(), 1))
    place.work.add(KEY)
    await asyncio.sleep(reconcile.DRAFT_MAX_S - 1)
    assert steps.done == []
    await asyncio.sleep(2)
    assert steps.done == ["status 1 on 1"]


async def test_nothing_is_done_with_an_object_that_changed_since_it_was_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(place, monkeypatch, (actions.Wait(), 0))
    place.work.add(KEY)
    await asyncio.sleep(reconcile.FRESH_S)
    place.view = builders.model_deployment(resource_version="2")
    steps.passes = iter([(ROUTE, 0)])
    place.evidence = b"2"
    place.waits.on_answer(KEY.namespace)
    await asyncio.sleep(0.01)
    assert len(place.fetches) == 3, "once before it was to be done, and once more for the next pass"
    assert steps.done == [], "it was planned for the object as it was"


async def test_a_dropped_status_field_is_written_at_growing_intervals(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[float] = []
    stored = {
        "metadata": {"namespace": KEY.namespace, "name": KEY.name, "uid": "u", "resourceVersion": "2"},
        "spec": {"model": {"uri": "file:///m"}},
        "status": {},
    }

    async def write_status(*_: Any, **__: Any) -> Any:
        written.append(asyncio.get_running_loop().time())
        return stored

    def summarise(*_: Any, **__: Any) -> actions.StatusUpdate:
        patch = {"lastStableRevision": "0123456789"}
        return actions.StatusUpdate(key=KEY, status={}, patch=patch, events=(), written_at=LoopClock().now())

    monkeypatch.setattr(status, "write_status", write_status)
    monkeypatch.setattr(summary, "summarise", summarise)
    place.work.add(KEY)
    await asyncio.sleep(600)
    assert len(written) <= 12
    sample = place.metrics.registry.get_sample_value("fairlead_operator_dropped_status_writes_total")
    assert sample == len(written)
