"""A collector that is away, slow or hostile: spans are dropped and counted, and no request notices."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable

import pytest
from tests.support import raw_server
from tests.support.raw_server import Connection
from tests.support.replica_parts import wait_until
from tests.support.span_collector import collecting

from fairlead_spans import exporter
from fairlead_spans.counters import SpanCounters
from fairlead_spans.span import AnsweredRequest

# What ends by itself has time for it, also on a busy machine: else it would be tried again, or fail to connect.
SHORT_S, LONG_S = 0.5, 60.0
RESOURCE = {"service.name": "digits", "service.instance.id": "1-0"}


def make() -> AnsweredRequest:
    now_s = time.perf_counter()
    return AnsweredRequest(
        name="infer",
        attributes={},
        status=200,
        parent=None,
        state="",
        arrived_s=now_s,
        ended_s=now_s,
        ended_ns=time.time_ns(),
    )


def start(
    endpoint: str,
    *,
    timeout_s: float = 60,
    collect_s: float = 0.0,
    trust: Callable[[], ssl.SSLContext] | None = None,
) -> tuple[exporter.Exporter, SpanCounters]:
    counted = SpanCounters()
    settings = exporter.Settings(
        endpoint=endpoint,
        resource=RESOURCE,
        trust=trust,
        timeout_s=timeout_s,
        pause_s=0.01,
        collect_s=collect_s,
    )
    return exporter.Exporter(settings, counted), counted


def answer(status: str, *headers: str, body: bytes = b"") -> Callable[[Connection], None]:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers, "", ""]).encode()
    return lambda connection: connection.send(head + body)


def send_without_end(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    connection.send_without_end(b"400\r\n" + b"x" * 1024 + b"\r\n")


def send_headers_without_end(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    connection.send_without_end(b"x-more: " + b"y" * 1000 + b"\r\n")


def drip(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
    connection.drip(b"x")


@pytest.mark.parametrize(
    ("play", "attempts", "timeout_s"),
    [
        (lambda connection: connection.stopped.wait(), 3, SHORT_S),
        (answer("500 No"), 1, LONG_S),
        (answer("400 No"), 1, LONG_S),
        (answer("503 Later"), 3, LONG_S),
        (send_without_end, 1, LONG_S),
        (send_headers_without_end, 3, LONG_S),
        (drip, 3, SHORT_S),
        (lambda connection: connection.send(b"\xff\xfe no HTTP\r\n\r\n"), 3, LONG_S),
        (lambda connection: None, 3, LONG_S),
    ],
    ids=["silent", "500", "400", "503", "endless", "endless headers", "dripping", "garbage", "closed"],
)
def test_what_a_hostile_collector_does_not_take_is_counted(
    play: Callable[[Connection], None], attempts: int, timeout_s: float
) -> None:
    with raw_server.serving(play) as served:
        sender, counted = start(served.url, timeout_s=timeout_s)
        sender.offer(make())
        wait_until(lambda: counted.failed == 1)
        assert served.count_connections() == attempts
        sender.close()
    assert (counted.sent, counted.dropped) == (0, 0)


def test_a_redirect_is_not_followed() -> None:
    with (
        raw_server.serving(answer("200 OK")) as other,
        raw_server.serving(answer("307 Elsewhere", f"location: {other.url}/v1/traces")) as served,
    ):
        sender, counted = start(served.url)
        sender.offer(make())
        wait_until(lambda: counted.failed == 1)
        sender.close()
        assert other.count_connections() == 0


def test_a_packed_answer_is_not_unpacked() -> None:
    """It is not asked for, and could be of any size."""
    with raw_server.serving(answer("200 OK", "content-encoding: gzip", body=b"\x1f\x8b no gzip")) as served:
        sender, counted = start(served.url)
        sender.offer(make())
        wait_until(lambda: counted.sent == 1)
        sender.close()


def test_a_collector_that_is_away_for_a_moment_gets_what_waited() -> None:
    with collecting() as collector:
        collector.statuses = [503, 429]
        sender, counted = start(collector.url)
        sender.offer(make())
        wait_until(lambda: counted.sent == 1)
        assert len(collector.paths) == 3
        sender.close()
    assert (counted.failed, counted.refused) == (0, 0)


def test_what_the_collector_says_to_have_refused_is_counted() -> None:
    with collecting() as collector:
        collector.refuses = 1
        sender, counted = start(collector.url, collect_s=60)
        sender.offer(make())
        sender.offer(make())
        sender.close()
        wait_until(lambda: counted.sent == 1)
    assert counted.refused == 1


def test_the_queue_is_bounded_and_offering_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "CLOSE_S", 0.01)
    released = threading.Event()
    with raw_server.serving(lambda connection: released.wait(60) and None) as served:
        sender, counted = start(served.url, timeout_s=60)
        for _ in range(exporter.QUEUED_MAX + 3 * exporter.BATCH_MAX):
            sender.offer(make())
        # One batch at most is on its way.
        assert counted.dropped >= 2 * exporter.BATCH_MAX
        sender.close()
        before = counted.dropped
        sender.offer(make())
        assert counted.dropped == before + 1
        released.set()


def test_closing_sends_what_waits() -> None:
    with collecting() as collector:
        sender, counted = start(collector.url, collect_s=600)
        for _ in range(3):
            sender.offer(make())
        sender.close()
        wait_until(lambda: counted.sent == 3)
        assert len(collector.exports) == 1


@pytest.mark.parametrize("endpoint", ["http://a..b:4318", f"http://{'x' * 200}:4318", "http://collector:99999"])
def test_an_endpoint_that_can_be_none_ends_no_thread(endpoint: str) -> None:
    sender, counted = start(endpoint)
    for count in (1, 2):
        sender.offer(make())
        wait_until(lambda count=count: counted.failed == count)
    sender.close()


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    sender, counted = start(f"http://127.0.0.1:{port}/")
    sender.offer(make())
    wait_until(lambda: counted.failed == 1)
    sender.close()


def test_spans_that_come_while_others_are_sent_are_sent_as_well() -> None:
    """Each is offered at another moment of the thread's turn."""
    with collecting() as collector:
        sender, counted = start(collector.url)
        for number in range(1, 60):
            sender.offer(make())
            if number % 3 == 0:
                wait_until(lambda number=number: counted.sent == number)
        wait_until(lambda: counted.sent == 59)
        sender.close()
        assert len(collector.spans()) == 59
