"""A bounded sample of answered predictions is explained: on the explanations' thread, after every client's own ones."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from tests.support.hand_clock import HandClock

from fairlead_runtime.attribution_counters import Outcome
from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import attribution_sampling
from fairlead_runtime.inference.attribution_sampling import PAUSE_PER_WORK, AttributionSampler, Comparison
from fairlead_runtime.inference.explaining import ExplanationQueue
from fairlead_runtime.metrics import Explanations, ReplicaMetrics
from fairlead_runtime.model.evaluation_record import Outcome as RecordOutcome
from fairlead_runtime.model.explaining.shares import ShareReader
from fairlead_runtime.model.predictor import LoadedModel, ModelFailedError, Tensors
from fairlead_runtime.model.reference_statistics import Attributions, Found, ReferenceStatistics
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.sketches import ShareSketch

SPEC = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 3))
OUTPUT = TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 1))
SIGNATURE = Signature(name="s", method="", inputs=(SPEC,), outputs=(OUTPUT,))
ROW = np.array([[1, 3, 0]], np.float32)
ASKED = {"explanations": {"samplesPerMinute": 60}}


def spin(seconds: float) -> None:
    """Works for so long, as a slow model does."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


class Summing:
    """The sum of a row; waits for `gate` in each call once one is set, or fails."""

    def __init__(self) -> None:
        self.gate: threading.Event | None = None
        self.failure: Exception | None = None
        self.begun = threading.Event()
        self.calls = 0
        self.call_s = 0.0

    def __call__(self, inputs: Tensors) -> Tensors:
        self.calls += 1
        self.begun.set()
        if self.failure is not None:
            raise self.failure
        if self.gate is not None:
            assert self.gate.wait(100)
        spin(self.call_s)
        return (inputs[0].sum(axis=1, keepdims=True),)


class World:
    """A sampler, its queue and what they count; for use on a loop."""

    def __init__(self, comparison: Comparison | str | None = None) -> None:
        self.model = Summing()
        self.clock = HandClock()
        self.explanations = Explanations()
        self.queue = ExplanationQueue(self.explanations, timeout_s=600)
        loaded = LoadedModel(signature=SIGNATURE, predictor=self.model, kind="stand-in")
        self.sketch = ShareSketch("attribution", (5.0, 4.0, 1.0, 0.0))
        reader = ShareReader(loaded, 0, (0.0, 0.0, 0.0), shares_calls=False)
        self.metrics = ReplicaMetrics({"namespace": "shop", "model": "m", "revision": "r", "replica": "r-1"})
        self.counters = self.metrics.explained
        self.sampler = AttributionSampler(
            self.queue,
            comparison or Comparison(reader=reader, sketch=self.sketch),
            self.counters,
            clock=self.clock.monotonic_s,
            pick=lambda rows: rows - 1,
        )

    def counted(self) -> dict[Outcome, int]:
        return {outcome: count for outcome, count in self.counters.outcomes.items() if count}

    async def settled(self, rows: int) -> None:
        """Waits until so many rows have ended in one way or another, and the thread is ready for the next."""
        async with asyncio.timeout(100):
            while sum(self.counters.outcomes.values()) < rows or self.queue.is_busy:
                await asyncio.sleep(0.001)


def run(scenario: Callable[[World], Awaitable[None]], comparison: Comparison | str | None = None) -> World:
    async def whole() -> World:
        world = World(comparison)
        try:
            await scenario(world)
        finally:
            world.queue.close()
        return world

    return asyncio.run(whole())


def test_a_row_of_a_request_adds_its_shares() -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow(ASKED)
        world.sampler.sample((np.concatenate([np.zeros((1, 3), np.float32), ROW]),))
        await world.settled(1)

    world = run(scenario)
    assert world.counted() == {Outcome.COUNTED: 1}
    assert world.sketch.counts == [0.25, 0.75, 0, 0]
    assert not any(world.explanations.outcomes.values()), "no client asked for an explanation"


def test_nothing_is_explained_unless_it_is_asked_for_and_nothing_after_it_is_turned_off() -> None:
    async def scenario(world: World) -> None:
        world.sampler.sample((ROW,))
        assert "explained_rows_total{" not in world.metrics.text().decode()
        world.sampler.follow(ASKED)
        world.sampler.follow({"explanations": None})
        world.clock.seconds += 3600
        world.sampler.sample((ROW,))

    world = run(scenario)
    assert (world.model.calls, world.counted()) == (0, {})


def test_so_many_rows_a_minute_are_explained_and_no_more() -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow({"explanations": {"samplesPerMinute": 6}})
        for tick in range(480):
            world.sampler.sample((ROW,))
            # What has begun is over before the next row is due, so that none is dropped.
            await world.settled(1 + tick // 80)
            world.clock.seconds += 0.125

    world = run(scenario)
    assert world.counted() == {Outcome.COUNTED: 6}


def test_an_explanation_that_takes_long_is_followed_by_a_pause() -> None:
    async def scenario(world: World) -> None:
        world.model.call_s = 0.02
        world.sampler.follow(ASKED)
        world.sampler.sample((ROW,))
        await world.settled(1)
        for _ in range(2):
            # Four calls of the model take 0.08 s, so the next row is due after more than a second and a half.
            world.clock.seconds += PAUSE_PER_WORK * 0.08 / 2.01
            calls = world.model.calls
            world.sampler.sample((ROW,))
            assert world.model.calls == calls
        world.clock.seconds += 100
        world.sampler.sample((ROW,))
        await world.settled(2)

    assert run(scenario).counted() == {Outcome.COUNTED: 2}


def test_a_row_is_dropped_while_a_client_waits_for_its_explanation() -> None:
    async def scenario(world: World) -> None:
        gate, begun = threading.Event(), threading.Event()

        def explain(_: Callable[[], bool]) -> int:
            begun.set()
            assert gate.wait(100)
            return 1

        world.sampler.follow(ASKED)
        asked = world.queue.submit(explain)
        assert begun.wait(100)
        world.sampler.sample((ROW,))
        assert world.counted() == {Outcome.BUSY: 1}
        gate.set()
        assert await asked == 1

    world = run(scenario)
    assert world.model.calls == 0


def test_a_clients_explanation_ends_a_sampled_one_at_its_next_call() -> None:
    async def scenario(world: World) -> None:
        world.model.gate = threading.Event()
        world.sampler.follow(ASKED)
        world.sampler.sample((ROW,))
        assert world.model.begun.wait(100)
        asked = world.queue.submit(lambda _: 7)
        world.model.gate.set()
        assert await asked == 7
        await world.settled(1)

    world = run(scenario)
    assert world.counted() == {Outcome.BUSY: 1}
    assert world.model.calls < 5, "all parts were explained first"
    assert world.sketch.counts == [0, 0, 0, 0]
    assert world.explanations.outcomes["answered"] == 1


def test_a_sampled_explanation_takes_no_place_in_the_queue() -> None:
    async def scenario(world: World) -> None:
        world.queue = ExplanationQueue(world.explanations, timeout_s=600, queued_max=1)
        gate, begun = threading.Event(), threading.Event()

        def compute(_: Callable[[], bool]) -> None:
            begun.set()
            assert gate.wait(100)

        offered = world.queue.offer(compute)
        assert offered is not None
        assert begun.wait(100)
        asked = world.queue.submit(lambda _: 1)
        with pytest.raises(RequestError) as refused:
            world.queue.submit(lambda _: 2)
        assert refused.value.reason is RequestReason.EXPLANATIONS_FULL
        assert world.queue.offer(compute) is None
        gate.set()
        assert await asked == 1
        world.queue.close()
        assert world.queue.offer(compute) is None

    run(scenario)


def test_a_sampled_explanation_has_the_time_of_a_request_at_most() -> None:
    async def scenario(world: World) -> None:
        world.queue = ExplanationQueue(world.explanations, timeout_s=0.01)
        gate = threading.Event()
        offered = world.queue.offer(lambda _: gate.wait(100))
        assert offered is not None
        with pytest.raises(asyncio.CancelledError):
            await offered
        gate.set()
        world.queue.close()

    run(scenario)


def test_no_row_is_kept() -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow(ASKED)
        row = ROW.copy()
        kept = weakref.ref(row)
        world.sampler.sample((row,))
        del row
        assert kept() is None, "the request is held while its copy is explained"
        await world.settled(1)
        async with asyncio.timeout(100):
            while held_rows():
                await asyncio.sleep(0.001)

    def held_rows() -> list[object]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, np.ndarray) and each.shape == (1, 3)]

    world = run(scenario)
    assert [type(count) for count in world.sketch.counts] == [float] * 4


def test_a_row_that_is_not_finite_is_counted_apart() -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow(ASKED)
        world.sampler.sample((np.array([[1, np.nan, 0]], np.float32),))
        await world.settled(1)

    assert run(scenario).counted() == {Outcome.NOT_EXPLAINED: 1}


def test_a_model_that_fails_is_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.model.failure = ModelFailedError("out of memory")
        world.sampler.follow(ASKED)
        for row in range(1, 4):
            world.sampler.sample((ROW,))
            await world.settled(row)
            world.clock.seconds += 10

    assert run(scenario).counted() == {Outcome.FAILED: 3}
    assert caplog.text.count("a prediction could not be explained for monitoring: out of memory") == 1


def test_without_a_reference_the_log_says_why_and_rows_are_counted_so(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow(ASKED)
        world.sampler.sample((ROW,))

    world = run(scenario, "the model has 2 inputs, not one")
    assert world.counted() == {Outcome.NO_REFERENCE: 1}
    assert "no predictions are explained for monitoring: the model has 2 inputs, not one" in caplog.text
    assert 'feature="attribution"' not in world.metrics.text().decode()


@pytest.mark.parametrize("raw", [{"samplesPerMinute": 0}, {"samplesPerMinute": 61}, {}, "often"])
def test_settings_that_can_not_be_read_turn_it_off(raw: object, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow(ASKED)
        world.sampler.follow({"explanations": raw})
        world.sampler.sample((ROW,))

    assert run(scenario).model.calls == 0
    assert "no predictions are explained for monitoring: user_config.explanations: " in caplog.text


def test_the_counts_are_shown_beside_the_reference() -> None:
    async def scenario(world: World) -> None:
        world.sampler.follow(ASKED)
        world.sampler.sample((ROW,))
        await world.settled(1)

    shown = run(scenario).metrics.text().decode()
    assert 'fairlead_replica_sampled_rows_total{bin="01",feature="attribution",' in shown
    assert 'fairlead_replica_reference_rows{bin="Nothing",feature="attribution",' in shown
    assert 'fairlead_replica_explained_rows_total{model="m",namespace="shop",outcome="Counted"' in shown


def statistics(attributions: Attributions | None) -> ReferenceStatistics:
    return ReferenceStatistics(model_digest="sha256:" + "0" * 64, signature="s", features=(), attributions=attributions)


def test_the_comparison_needs_reference_attributions() -> None:
    loaded = LoadedModel(signature=SIGNATURE, predictor=Summing(), kind="stand-in")

    def found(attributions: Attributions | None) -> Comparison | str:
        known = Found(outcome=RecordOutcome.READ, statistics=statistics(attributions))
        return attribution_sampling.find_comparison(loaded, known, shares_calls=True)

    reference = Attributions(baselines=(0.0, 0.0, 0.0), shares=(1.0, 2.0, 3.0, 0.0))
    made = found(reference)
    assert isinstance(made, Comparison)
    assert made.sketch.reference == (1.0, 2.0, 3.0, 0.0)
    assert found(None) == "the reference statistics have none: package the model again with --reference"
    absent = Found(outcome=RecordOutcome.ABSENT, message="there is no file statistics.json beside the model")
    assert attribution_sampling.find_comparison(loaded, absent, shares_calls=True) == absent.message
