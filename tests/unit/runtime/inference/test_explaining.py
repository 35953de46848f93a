"""The queue of explanations by itself: its thread, what it keeps, and its end."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable

import pytest
from tests.support.replica_parts import wait_until

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference.explaining import ExplanationQueue
from fairlead_runtime.metrics import Explanations


def make_queue(counted: Explanations | None = None) -> ExplanationQueue:
    return ExplanationQueue(counted or Explanations(), timeout_s=600)


def test_a_thread_that_does_not_start_is_tried_again_with_the_next_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counted = Explanations()
    start = threading.Thread.start

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scenario() -> None:
        queue = make_queue(counted)
        monkeypatch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RequestError) as refused:
            queue.submit(lambda _: 1)
        assert refused.value.reason is RequestReason.NOT_READY
        assert queue.waiting == 0
        monkeypatch.setattr(threading.Thread, "start", start)
        assert await queue.submit(lambda _: 2) == 2
        queue.close()

    asyncio.run(scenario())
    assert {name: count for name, count in counted.outcomes.items() if count} == {"answered": 1, "failed": 1}
    assert "the thread of the explanations can't be started" in caplog.text


def test_an_answered_request_is_not_kept_until_the_next_one() -> None:
    class Large:
        """Stands for a body."""

    def compute_with(body: Large) -> Callable[[Callable[[], bool]], int]:
        return lambda _: id(body)

    async def scenario() -> None:
        queue = make_queue()
        body = Large()
        kept = weakref.ref(body)
        assert await queue.submit(compute_with(body)) == id(body)
        del body
        wait_until(lambda: kept() is None)
        queue.close()

    asyncio.run(scenario())


def test_what_runs_ends_at_its_next_step_when_the_queue_is_closed() -> None:
    begun, closed, ended = threading.Event(), threading.Event(), threading.Event()

    def compute(is_awaited: Callable[[], bool]) -> bool:
        begun.set()
        assert closed.wait(100)
        if not is_awaited():
            ended.set()
        return True

    async def scenario() -> None:
        queue = make_queue()
        running = queue.submit(compute)
        assert begun.wait(100)
        queue.close()
        closed.set()
        with pytest.raises(RequestError) as refused:
            await running
        assert refused.value.reason is RequestReason.DRAINING
        assert ended.wait(100)

    asyncio.run(scenario())
