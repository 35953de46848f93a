"""The watch of a namespace starts once, after its first listing or a bounded time, and not after the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fairlead_operator import handlers, health, telemetry, watches
from fairlead_operator.clients import clock

pytestmark = pytest.mark.looptime


class Watch:
    """In place of a thread with Kopf."""

    started: list[str | None]
    starts = 1

    def __init__(self, namespace: str | None, *_: Any, **__: Any) -> None:
        self.namespace = namespace

    def start(self) -> None:
        self.started.append(self.namespace)

    def stop(self) -> None:
        """There is no thread."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    Watch.started = []
    monkeypatch.setattr(handlers, "NamespaceWatch", Watch)
    return Watch.started


def make(*namespaces: str | None) -> watches.Watches:
    system, notice = clock.SystemClock(), Any
    ledger = health.WatchLedger(clock=system)
    return watches.Watches(namespaces, notice, None, ledger=ledger, clock=system, metrics=telemetry.Metrics())  # type: ignore[arg-type]


async def test_a_watch_starts_once_however_often_its_namespace_is_listed(started: list[str | None]) -> None:
    made = make("ns")
    made.start_late()
    made.start("ns")
    made.start("ns")
    await asyncio.sleep(2 * watches.FIRST_LISTING_MAX_S)
    assert started == ["ns"]


async def test_a_namespace_that_cannot_be_listed_is_watched_all_the_same(started: list[str | None]) -> None:
    make(None).start_late()
    await asyncio.sleep(watches.FIRST_LISTING_MAX_S - 1)
    assert started == []
    await asyncio.sleep(2)
    assert started == [None]


async def test_no_watch_starts_after_the_end(started: list[str | None]) -> None:
    made = make("ns")
    made.start_late()
    made.stop()
    await asyncio.sleep(2 * watches.FIRST_LISTING_MAX_S)
    assert started == []
