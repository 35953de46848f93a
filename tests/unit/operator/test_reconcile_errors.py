"""What a pass does with an error that nobody foresaw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders
from tests.support.hand_clock import HandClock

from fairlead_operator import composition, reconcile, telemetry, waiting
from fairlead_operator.clients import errors
from fairlead_operator.effects import execute
from fairlead_operator.observe import snapshot
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, keys, knowledge, reasons, route


class Queue:
    def __init__(self) -> None:
        self.failed: list[keys.Key] = []
        self.delays: list[tuple[float | None, float]] = []

    def add_failed(self, key: keys.Key, *, first_s: float | None = None, least_s: float = 0.0) -> float:
        self.failed.append(key)
        self.delays.append((first_s, least_s))
        return 1.0

    def succeeded(self, key: keys.Key) -> None:
        raise AssertionError(f"{key} did not succeed")


KEY = keys.ModelKey(builders.NAMESPACE, builders.NAME)


def make_reconciler(queue: Any, view: Any, **parts: Any) -> reconcile.Reconciler:
    """``view`` is what the API server gives, or raises."""

    async def fetch(_: keys.ModelKey) -> Any:
        if isinstance(view, errors.FairleadError):
            raise view
        return view

    async def measure(look: snapshot.Look) -> snapshot.Look:
        return look

    def look(_: keys.ModelKey, seen: Any) -> snapshot.Look:
        found = knowledge.ABSENT if seen is None else knowledge.Known(seen)
        route_text = knowledge.Known(route.RouteText(text="{}"))
        return snapshot.Look(seen=builders.observed(object=found, route=route_text), evidence=b"", hot_evidence=b"")

    observer = SimpleNamespace(fetch=fetch, measure=measure, look=look)
    namespace = SimpleNamespace(is_pending=lambda: False)
    given = {"observer": observer, "hands": SimpleNamespace(nudge=lambda _: None), **parts}
    made = reconcile.Parts(
        **{"statuses": SimpleNamespace(dropped_fields=lambda _: (), forget=lambda _: None), **given},
        namespaces=lambda _: namespace,  # type: ignore[arg-type,return-value]  # it is asked nothing else
        waits=waiting.Waiting(queue, lambda _: namespace, clock=HandClock()),  # type: ignore[arg-type,return-value]
        composed=composition.Composition(),
        bounds=builders.BOUNDS,
        clock=HandClock(),
        metrics=telemetry.Metrics(),
        missing_fields=tuple,
    )
    swept: Any = SimpleNamespace(take_listed=lambda _: None, begin_read=lambda _: None, note_gone=lambda _: None)
    ray: Any = None
    return reconcile.Reconciler(made, queue, swept=swept, ray=ray)


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (errors.RetryLater("429", retry_after_s=30.0), (None, 30.0)),
        (errors.Unreachable("503", retry_after_s=7.0), (None, 7.0)),
        (errors.Forbidden("403"), (None, 0.0)),
        (errors.Conflict("409"), (reconcile.AFTER_CONFLICT_S, 0.0)),
        (errors.AlreadyExists("of somebody else"), (reconcile.AFTER_CONFLICT_S, 0.0)),
    ],
)
async def test_every_failure_costs_a_growing_delay_and_a_requested_pause_is_kept(
    error: errors.FairleadError, delay: tuple[float | None, float]
) -> None:
    queue = Queue()
    assert await make_reconciler(queue, error).handle(KEY) is None
    assert queue.delays == [delay]


@pytest.mark.parametrize(
    ("reason", "retry_after_s", "delay"),
    [
        (reasons.Reason.CONFLICT, None, (reconcile.AFTER_CONFLICT_S, 0.0)),
        (reasons.Reason.WRITE_FAILED, 12.0, (None, 12.0)),
    ],
)
async def test_a_refused_write_costs_a_growing_delay(
    monkeypatch: pytest.MonkeyPatch,
    reason: reasons.Reason,
    retry_after_s: float | None,
    delay: tuple[float | None, float],
) -> None:
    async def refuse(*_: Any) -> actions.Outcome:
        return actions.Refused(reason=reason, message="no", retry_after_s=retry_after_s)

    monkeypatch.setattr(execute, "execute", refuse)
    queue = Queue()
    assert await make_reconciler(queue, None).handle(KEY) is None
    assert queue.delays == [delay]


async def test_an_unexpected_error_is_reported_on_the_object_logged_and_retried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make(*_: Any) -> None:
        raise KeyError("a-secret-value")

    recorded: list[Any] = []

    def report(_: Any, event: Any) -> None:
        recorded.append(event)

    monkeypatch.setattr(planner, "make", make)
    queue = Queue()
    statuses = SimpleNamespace(report=report, dropped_fields=lambda _: ())
    assert await make_reconciler(queue, builders.model_deployment(), statuses=statuses).handle(KEY) is None
    assert queue.failed == [KEY]
    (event,) = recorded
    assert (event.reason, event.type) == ("InternalError", "Warning")
    assert "KeyError" in event.message
    assert "a-secret-value" not in event.message, "what an error holds belongs into the log"
    assert "a-secret-value" in caplog.text
