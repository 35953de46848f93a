"""Where calls of the model run, which requests share one, and that nothing which goes wrong stops those behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.support.replica_parts import FixedCosts

from fairlead_runtime.errors import RequestError
from fairlead_runtime.inference import batching, costs
from fairlead_runtime.inference.batching import Runner, Sharing
from fairlead_runtime.inference.executor import Executor
from fairlead_runtime.model.predictor import Tensors

ON_LOOP = 0.0
PER_TURN = 5e-4
ON_THREAD = 1.0
PROVED = Sharing(is_proved=True)


@dataclass
class Model:
    """Gives its input back; remembers each call's shape and thread."""

    gate: threading.Event | None = None
    answer: Callable[[np.ndarray], np.ndarray] = lambda array: array
    calls: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def __call__(self, inputs: Tensors) -> Tensors:
        self.calls.append((inputs[0].shape, threading.current_thread().name))
        self.begun.set()
        if self.gate is not None:
            self.gate.wait(200)
        return (self.answer(inputs[0]),)

    @property
    def rows(self) -> list[int]:
        return [shape[0] for shape, _ in self.calls]

    @property
    def threads(self) -> set[str]:
        return {name for _, name in self.calls}


def made(model: Callable[[Tensors], Tensors], known: costs.Costs, sharing: Sharing = PROVED) -> Executor:
    runner = Runner(model, sharing=sharing, costs=known, observe_rows=lambda _rows: None)
    return Executor(runner, asyncio.get_running_loop())


def rows(count: int, width: int = 2, value: float = 1.0) -> Tensors:
    return (np.full((count, width), value, np.float32),)


async def outcome(result: Tensors | Awaitable[Tensors]) -> Tensors:
    return result if isinstance(result, tuple) else await result


async def wait_until_started(model: Model) -> None:
    assert await asyncio.to_thread(model.begun.wait, 20)


async def test_a_call_of_unknown_duration_never_runs_on_the_loop() -> None:
    model = Model()
    learned = costs.LearnedCosts()
    learned.observe(costs.size_of([rows(1)]), 1e-9)
    executor = made(model, learned)
    assert isinstance(executor.submit(rows(1)), tuple), "known to be short"
    await outcome(executor.submit(rows(64, 512)))
    assert model.calls[-1][1] == "fairlead-inference"
    executor.close()


async def test_quick_sizes_run_on_the_loop_and_slow_ones_do_not() -> None:
    learned = costs.LearnedCosts()
    learned.observe(costs.size_of([rows(4)]), 1e-6)
    learned.observe(costs.size_of([rows(400)]), 0.5)
    model = Model()
    executor = made(model, learned)
    assert isinstance(executor.submit(rows(4)), tuple)
    slow = executor.submit(rows(400))
    assert not isinstance(slow, tuple)
    await slow
    assert model.calls[-1][1] == "fairlead-inference"
    executor.close()


@pytest.mark.parametrize("call_s", [PER_TURN, ON_THREAD], ids=["per turn", "on the thread"])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
async def test_a_request_with_a_missing_value_shares_no_call(call_s: float, odd: float) -> None:
    model = Model(gate=threading.Event() if call_s == ON_THREAD else None)
    executor = made(model, FixedCosts(call_s))
    first = [executor.submit(rows(1))]
    if model.gate is not None:
        await wait_until_started(model)
    results = first + [executor.submit(rows(1, value=value)) for value in (1.0, odd, 2.0, odd)]
    if model.gate is not None:
        model.gate.set()
    await asyncio.gather(*map(outcome, results))
    shared = [1, 2] if model.gate is not None else [3]
    assert sorted(model.rows) == sorted([*shared, 1, 1])
    executor.close()


async def test_a_batch_that_takes_long_as_a_whole_runs_on_the_thread() -> None:
    learned = costs.LearnedCosts()
    learned.observe(costs.size_of([rows(1)]), PER_TURN)
    learned.observe(costs.size_of([rows(2)]), PER_TURN)
    model = Model()
    executor = made(model, learned)
    few = [executor.submit(rows(1)) for _ in range(2)]
    await asyncio.gather(*map(outcome, few))
    assert model.calls == [((2, 2), "MainThread")]
    many = [executor.submit(rows(1)) for _ in range(40)]
    await asyncio.gather(*map(outcome, many))
    assert model.calls[1:] == [((40, 2), "fairlead-inference")]
    executor.close()


@pytest.mark.parametrize("call_s", [PER_TURN, ON_THREAD], ids=["per turn", "on the thread"])
@pytest.mark.parametrize(
    ("sharing", "shared"),
    [
        pytest.param(PROVED, [5], id="proved"),
        pytest.param(Sharing(is_proved=True, rows_max=2), [2, 2, 1], id="proved, two rows"),
        pytest.param(Sharing(is_proved=False), [1] * 5, id="not proved"),
        pytest.param(Sharing(is_proved=False, delay_s=20), [1] * 5, id="not proved, so no wait"),
        pytest.param(Sharing(is_proved=True, rows_max=1, delay_s=20), [1] * 5, id="one row, so no wait"),
    ],
)
async def test_requests_share_a_call_only_after_the_proof(call_s: float, sharing: Sharing, shared: list[int]) -> None:
    model = Model(gate=threading.Event() if call_s == ON_THREAD else None)
    executor = made(model, FixedCosts(call_s), sharing)
    first = []
    if model.gate is not None:
        first = [executor.submit(rows(1))]
        await wait_until_started(model)
    jobs = [executor.submit(rows(1, value=i)) for i in range(5)]
    if model.gate is not None:
        model.gate.set()
    answers = await asyncio.gather(*map(outcome, jobs))
    assert [float(answer[0][0, 0]) for answer in answers] == [0, 1, 2, 3, 4]
    await asyncio.gather(*map(outcome, first))
    assert model.rows == [1] * len(first) + shared
    executor.close()


async def test_shapes_that_alternate_still_share_calls_and_a_large_request_stays_whole() -> None:
    model = Model(gate=threading.Event())
    executor = made(model, FixedCosts(ON_THREAD), Sharing(is_proved=True, rows_max=8))
    jobs = [executor.submit(rows(1, 9))]
    await wait_until_started(model)
    jobs += [executor.submit(rows(1, width)) for width in (2, 3, 2, 3)] + [executor.submit(rows(20))]
    assert model.gate is not None
    model.gate.set()
    answers = await asyncio.gather(*map(outcome, jobs))
    assert [answer[0].shape for answer in answers] == [(1, 9), (1, 2), (1, 3), (1, 2), (1, 3), (20, 2)]
    assert [shape for shape, _ in model.calls] == [(1, 9), (2, 2), (2, 3), (20, 2)]
    executor.close()


async def test_a_delay_collects_rows_until_there_are_enough() -> None:
    model = Model()
    executor = made(model, FixedCosts(ON_LOOP), Sharing(is_proved=True, rows_max=4, delay_s=3600))
    jobs = [executor.submit(rows(1)), executor.submit(rows(2))]
    await asyncio.sleep(0)
    jobs.append(executor.submit(rows(1)))
    await asyncio.gather(*map(outcome, jobs))
    assert model.rows == [4]
    executor.close()


async def test_the_batching_delay_ends_for_a_single_request() -> None:
    model = Model()
    executor = made(model, FixedCosts(ON_LOOP), Sharing(is_proved=True, delay_s=0.02))
    await outcome(executor.submit(rows(1)))
    assert model.rows == [1]
    executor.close()


async def test_batching_is_switched_off_once_a_call_contradicts_the_proof(caplog: pytest.LogCaptureFixture) -> None:
    """Rows come out as often as they say: two requests whose sums fit by chance have no answer of their own."""

    def repeat(array: np.ndarray) -> np.ndarray:
        return np.repeat(array, array[:, 0].astype(int), axis=0)

    model = Model(gate=threading.Event(), answer=repeat)
    executor = made(model, FixedCosts(ON_THREAD))
    first = executor.submit(rows(1))
    await wait_until_started(model)
    jobs = [executor.submit(rows(1, value=value)) for value in (1, 3)]
    assert model.gate is not None
    model.gate.set()
    answers = await asyncio.gather(*map(outcome, jobs))
    assert [len(answer[0]) for answer in answers] == [1, 3]
    assert "batching is switched off" in caplog.text
    model.calls.clear()
    await asyncio.gather(*(outcome(executor.submit(rows(1))) for _ in range(3)))
    assert model.rows == [1, 1, 1]
    await outcome(first)
    executor.close()


async def test_requests_of_gone_clients_do_not_run() -> None:
    model = Model(gate=threading.Event())
    executor = made(model, FixedCosts(ON_THREAD), Sharing(is_proved=False))
    first = executor.submit(rows(1))
    await wait_until_started(model)
    jobs = [executor.submit(rows(1, value=i)) for i in range(6)]
    for job in jobs[:5]:
        assert isinstance(job, asyncio.Future)
        job.cancel()
    assert model.gate is not None
    model.gate.set()
    await outcome(jobs[5])
    await outcome(first)
    assert model.rows == [1, 1]
    executor.close()


class Killed(BaseException):
    """What no handler of ordinary exceptions catches."""


@pytest.mark.parametrize("call_s", [PER_TURN, ON_THREAD], ids=["per turn", "on the thread"])
@pytest.mark.parametrize("error", [MemoryError("640 MiB"), Killed("from within")], ids=["no memory", "no exception"])
async def test_a_failure_outside_the_model_fails_only_its_own_requests(
    call_s: float, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    executor = made(model, FixedCosts(call_s))

    def concatenate(*_: object) -> np.ndarray:
        raise error

    monkeypatch.setattr(batching.np, "concatenate", concatenate)
    jobs = [executor.submit(rows(1)) for _ in range(8)]
    await asyncio.gather(*map(outcome, jobs), return_exceptions=True)
    monkeypatch.undo()
    assert len((await outcome(executor.submit(rows(2))))[0]) == 2
    assert executor.trouble(call_s_max=20) is None
    assert executor.queued() == 0
    executor.close()


async def test_an_error_of_the_model_fails_only_its_own_call() -> None:
    def model(inputs: Tensors) -> Tensors:
        if inputs[0][0, 0] == 13:
            raise Killed("13")
        return inputs

    executor = made(model, FixedCosts(ON_THREAD))
    with pytest.raises(RequestError, match="Killed"):
        await outcome(executor.submit(rows(1, value=13)))
    await outcome(executor.submit(rows(1)))
    executor.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_thread_and_a_hanging_call_are_reported_as_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Model(gate=threading.Event())
    executor = made(model, FixedCosts(ON_THREAD))
    assert executor.trouble(0) is None, "nothing has begun"
    stuck = executor.submit(rows(1))
    await wait_until_started(model)
    assert executor.trouble(3600) is None
    found = executor.trouble(0)
    assert found is not None
    assert "has not returned" in found
    assert model.gate is not None
    model.gate.set()
    await outcome(stuck)

    def end(*_: object) -> list[batching.Job]:
        raise SystemExit

    monkeypatch.setattr("fairlead_runtime.inference.executor.take", end)
    lost = executor.submit(rows(1))
    async with asyncio.timeout(100):
        while executor.trouble(3600) is None:
            await asyncio.sleep(0.005)
    assert executor.trouble(3600) == "the thread that calls the model has ended"
    executor.close()
    with pytest.raises(RequestError, match="stopping"):
        await outcome(lost)
    assert executor.trouble(3600) is None, "it ends as it should"


def test_the_cost_of_a_class_rises_fast_and_falls_slowly() -> None:
    learned = costs.LearnedCosts()
    size = costs.size_of([rows(4)])
    assert learned.predict_s(size) is None
    learned.observe(size, 1.0)
    learned.observe(size, 100.0)
    risen = learned.predict_s(size)
    assert risen == pytest.approx(costs.RISE_MAX)
    learned.observe(size, 1.0)
    fallen = learned.predict_s(size)
    assert fallen is not None
    assert 3.5 < fallen < costs.RISE_MAX
    assert learned.predict_s(costs.size_of([rows(5)])) == pytest.approx(fallen * 5 / 4)
    assert learned.predict_s(costs.size_of([rows(8)])) is None


def test_classes_are_bounded_and_strings_count_by_their_bytes() -> None:
    learned = costs.LearnedCosts()
    for width in range(costs.CLASSES_MAX + 10):
        learned.observe(costs.Size(((width,),), 1), 1.0)
    assert learned.predict_s(costs.Size(((0,),), 1)) is None
    assert learned.predict_s(costs.Size(((costs.CLASSES_MAX,),), 1)) == 1.0
    short, long = (costs.size_of([(np.array([text], object),)]) for text in (b"a", b"a" * 5000))
    assert short.key != long.key
    assert costs.size_of([rows(3), rows(5)]) == costs.size_of([rows(8)])
