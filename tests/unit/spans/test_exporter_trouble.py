"""What goes wrong beside the collector's answer: the thread that sends goes on, waits, and logs it once."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable

import pytest
from tests.support import raw_server
from tests.support.replica_parts import wait_until
from tests.support.span_collector import collecting
from tests.unit.spans.test_exporter import answer, make, start

from fairlead_spans import exporter


def fail_once(function: Callable[..., object], error: Exception) -> Callable[..., object]:
    left = [error]

    def call(*args: object, **kwargs: object) -> object:
        if left:
            raise left.pop()
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (exporter.otlp, "write", MemoryError()),
        (exporter.asyncio.events, "new_event_loop", OSError(errno.EMFILE, "Too many open files")),
        (exporter.aiohttp, "TCPConnector", RuntimeError("can't start new thread")),
    ],
    ids=["memory", "descriptors", "session"],
)
def test_an_error_outside_the_request_is_counted_and_the_next_batch_is_sent(
    owner: object, name: str, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with collecting() as collector:
        sender, counted = start(collector.url)
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, fail_once(getattr(owner, name), error))
            sender.offer(make())
            wait_until(lambda: counted.failed == 1)
            sender.offer(make())
            wait_until(lambda: counted.sent == 1)
        sender.close()
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1
    assert type(error).__name__ in caplog.text


def test_a_lookup_that_takes_long_holds_up_no_batch_beyond_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    released, look_up = threading.Event(), socket.getaddrinfo

    def wait(host: str, *args: object, **kwargs: object) -> object:
        if host == "collector.example":
            released.wait(60)
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    sender, counted = start("http://collector.example:4318", timeout_s=0.05)
    sender.offer(make())
    wait_until(lambda: counted.failed == 1)
    sender.close()
    assert not sender._thread.is_alive()
    released.set()


def test_a_collector_with_a_name_is_found() -> None:
    with collecting() as collector:
        sender, counted = start(collector.url.replace("127.0.0.1", "localhost"))
        sender.offer(make())
        wait_until(lambda: counted.sent == 1)
        sender.close()


def test_what_the_collector_says_is_logged_once_and_forges_no_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporter, "LOG_EVERY_S", 0.0)
    with collecting() as collector:
        sender, counted = start(collector.url)
        for number in range(1, 4):
            collector.refuses = number
            collector.reason = f"no {number}\nERROR root: forged" + "x" * 1000
            for _ in range(number):
                sender.offer(make())
            wait_until(lambda number=number: counted.refused + counted.sent == number * (number + 1) // 2)
        sender.close()
    (logged,) = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert "it refused some of them" in logged
    assert "\n" not in logged
    assert len(logged) < 500


def test_trouble_that_changes_with_each_batch_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as collector:
        collector.statuses = [500, 400, 401, 404]
        sender, counted = start(collector.url)
        for count in range(1, 5):
            sender.offer(make())
            wait_until(lambda count=count: counted.failed == count)
        sender.offer(make())
        wait_until(lambda: counted.sent == 1)
        sender.close()
    (logged,) = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert "it answered 500" in logged


class Pauses(threading.Event):
    """Notes how long it would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.noted.append(timeout)
        return self.is_set()


@pytest.mark.parametrize(
    ("status", "asked", "pauses"),
    [
        ("503 Later", "7", [7, 7, 7]),
        ("429 Later", "100000", [exporter.RETRY_AFTER_S_MAX] * 3),
        ("503 Later", "Wed, 21 Oct 2065 07:28:00 GMT", [0.01, 0.02, 0.01]),
        ("503 Later", "-1", [0.01, 0.02, 0.01]),
        ("502 Later", "7", [0.01, 0.02, 0.01]),
        ("500 No", "7", [0.01]),
    ],
)
def test_a_failure_is_followed_by_the_pause_that_the_collector_asks_for(
    status: str, asked: str, pauses: list[float]
) -> None:
    with raw_server.serving(answer(status, f"retry-after: {asked}")) as served:
        sender, counted = start(served.url)
        noted = sender._closing = Pauses()
        sender.offer(make())
        wait_until(lambda: counted.failed == 1 and len(noted.noted) == len(pauses))
        sender.close()
    assert noted.noted == pauses
