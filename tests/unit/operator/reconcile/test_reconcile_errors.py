"""What a pass does with an error that nobody foresaw."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import builders
from tests.support.hand_clock import HandClock

from fairlead_operator import reconcile, telemetry
from fairlead_operator.plan import planner
from fairlead_operator.state import keys, knowledge


class Queue:
    def __init__(self) -> None:
        self.failed: list[keys.Key] = []

    def add_failed(self, key: keys.Key) -> float:
        self.failed.append(key)
        return 1.0


async def test_an_error_that_nobody_foresaw_is_told_on_the_object_logged_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def make(*_: Any) -> None:
        raise KeyError("a-secret-value")

    async def observe(_: keys.ModelKey) -> Any:
        return builders.observed(object=knowledge.Known(builders.model_deployment()))

    told: list[Any] = []

    async def send(_: Any, *events: Any, at: Any) -> None:
        told.extend(events)

    monkeypatch.setattr(planner, "make", make)
    parts: dict[str, Any] = {
        "observer": SimpleNamespace(observe=observe),
        "namespaces": None,
        "hands": None,
        "events": SimpleNamespace(send=send),
    }
    queue: Any = Queue()
    watch: Any = SimpleNamespace(unsettle=lambda _: None)
    ray: Any = None
    made = reconcile.Parts(**parts, bounds=builders.BOUNDS, clock=HandClock(), metrics=telemetry.Metrics())
    key = keys.ModelKey(builders.NAMESPACE, builders.NAME)
    assert await reconcile.Reconciler(made, queue, watch=watch, ray=ray).handle(key) is None
    assert queue.failed == [key]
    (event,) = told
    assert (event.reason, event.type) == ("InternalError", "Warning")
    assert "KeyError" in event.message
    assert "a-secret-value" not in event.message, "what an error holds belongs into the log"
    assert "a-secret-value" in caplog.text
