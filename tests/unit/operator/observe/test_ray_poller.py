"""What a Ray cluster's answers prove, and what not."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors, ray_serve
from fairlead_operator.observe import ray_serve as observe_ray
from fairlead_operator.observe import readers, source
from fairlead_operator.state import knowledge, serve

APPLICATION = serve.ApplicationView(name="a", status=serve.ApplicationStatus.RUNNING)


class ScriptedRay:
    """Answers as set, and counts the questions."""

    parse_s = 0.0

    def __init__(self) -> None:
        self.instance: ray_serve.Instance | errors.FairleadError = ray_serve.Instance(
            controller_id="c1", applications={"a": APPLICATION}
        )
        self.session = "s1"
        self.instance_reads = 0
        self.session_reads = 0

    async def fetch_instance(self) -> ray_serve.Instance:
        self.instance_reads += 1
        await asyncio.sleep(0)
        if isinstance(self.instance, errors.FairleadError):
            raise self.instance
        return self.instance

    async def fetch_session(self) -> str:
        self.session_reads += 1
        return self.session


EMPTY = ray_serve.Instance(controller_id=None, applications={})


@pytest.fixture
def ray() -> ScriptedRay:
    return ScriptedRay()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def poller(ray: ScriptedRay, clock: HandClock) -> observe_ray.RayPoller:
    return observe_ray.RayPoller(ray, readers.Readers(clock=clock), "ns")


async def read(poller: observe_ray.RayPoller) -> serve.RayEvidence | source.Pending:
    await poller.read_once()
    return poller.latest()


async def test_a_read_returns_the_last_answer_without_a_request(
    ray: ScriptedRay, poller: observe_ray.RayPoller
) -> None:
    assert poller.latest() == source.PENDING
    await poller.read_once()
    answers = [poller.latest() for _ in range(1000)]
    assert ray.instance_reads == 1
    assert isinstance(answers[0], knowledge.Known)
    assert all(answer is answers[0] for answer in answers)


async def test_an_answer_that_is_too_old_is_unknown(poller: observe_ray.RayPoller, clock: HandClock) -> None:
    await poller.read_once()
    clock.seconds += source.MAX_AGE_S + 1
    assert isinstance(poller.latest(), knowledge.Unknown)


async def test_after_a_write_only_a_later_read_is_used(poller: observe_ray.RayPoller, clock: HandClock) -> None:
    await poller.read_once()
    clock.seconds += 1
    poller.invalidate()
    assert poller.latest() == source.PENDING
    clock.seconds += source.PENDING_MAX_S + 1
    assert isinstance(poller.latest(), knowledge.Unknown), "a cluster that hangs is not awaited for ever"
    await poller.read_once()
    assert isinstance(poller.latest(), knowledge.Known)


async def test_the_session_is_read_again_only_after_a_new_controller(
    ray: ScriptedRay, clock: HandClock, poller: observe_ray.RayPoller
) -> None:
    for _ in range(5):
        clock.seconds += 1
        await poller.read_once()
    assert ray.session_reads == 1
    ray.instance = ray_serve.Instance(controller_id="c2", applications={})
    ray.session = "s2"
    clock.seconds += 1
    assert await read(poller) == knowledge.Known(serve.ServeView(session="s2", applications={}))


async def test_models_are_queued_when_ray_starts_or_stops_accepting_the_config(clock: HandClock) -> None:
    received: list[str] = []
    poller = observe_ray.RayPoller(ScriptedRay(), readers.Readers(clock=clock, on_answer=received.append), "ns")
    for kind, message in (
        (serve.RayWriteKind.KEPT, ""),
        (serve.RayWriteKind.PUT, ""),
        (serve.RayWriteKind.REFUSED, "400: one"),
        (serve.RayWriteKind.REFUSED, "400: two"),
        (serve.RayWriteKind.KEPT, ""),
    ):
        clock.seconds += 1
        poller.report(kind, message)
    assert received == ["ns", "ns", "ns"]
    poller.report(serve.RayWriteKind.HELD, "x" * 10_000)
    assert poller.last_write is not None
    assert len(poller.last_write.message) == observe_ray.WRITE_MESSAGE_MAX
    assert not poller.last_write.is_accepted


async def test_empty_answers_are_counted_while_the_session_stays(
    ray: ScriptedRay, clock: HandClock, poller: observe_ray.RayPoller
) -> None:
    ray.instance = EMPTY
    counts = []
    for session in ("s1", "s1", "s2", "s2", "s2"):
        ray.session = session
        clock.seconds += 1
        evidence = await read(poller)
        assert isinstance(evidence, serve.EmptyServe)
        counts.append((evidence.session, evidence.consecutive_reads))
    assert counts == [("s1", 1), ("s1", 2), ("s2", 1), ("s2", 2), ("s2", 3)]


@pytest.mark.parametrize("between", ["an error", "an answer"])
async def test_another_answer_resets_the_count_of_empty_answers(
    ray: ScriptedRay, clock: HandClock, poller: observe_ray.RayPoller, between: str
) -> None:
    full = ray.instance
    for instance in (EMPTY, EMPTY, errors.Unreachable("away") if between == "an error" else full, EMPTY):
        ray.instance = instance
        clock.seconds += 1
        evidence = await read(poller)
    assert isinstance(evidence, serve.EmptyServe)
    assert evidence.consecutive_reads == 1


async def test_applications_without_a_controller_prove_nothing(ray: ScriptedRay, poller: observe_ray.RayPoller) -> None:
    ray.instance = ray_serve.Instance(controller_id=None, applications={"a": APPLICATION})
    assert isinstance(await read(poller), knowledge.Unknown)


async def test_a_failed_read_is_unknown_with_its_message(ray: ScriptedRay, poller: observe_ray.RayPoller) -> None:
    ray.instance = errors.Unreachable("Ray: no answer within 10 s")
    assert await read(poller) == knowledge.Unknown("Ray: no answer within 10 s")


async def test_an_empty_answer_reports_its_start_and_whether_the_head_changed(
    ray: ScriptedRay, poller: observe_ray.RayPoller, clock: HandClock
) -> None:
    await read(poller)
    ray.instance = EMPTY
    clock.seconds += 1
    await read(poller)
    clock.seconds += 70
    same = await read(poller)
    ray.session = "s2"
    clock.seconds += 1
    other = await read(poller)
    assert isinstance(same, serve.EmptyServe)
    assert isinstance(other, serve.EmptyServe)
    assert (same.seconds, same.is_new_head, same.consecutive_reads) == (70.0, False, 2)
    assert (other.seconds, other.is_new_head, other.consecutive_reads) == (0.0, True, 1)
