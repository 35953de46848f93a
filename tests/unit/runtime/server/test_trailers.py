"""Fields of a chunked request's trailer: no header ever comes of them, and they are bounded as the head is."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import orjson
import pytest
from tests.support.replica_parts import MODEL, REVISION, Running, Setting, read_all, running, wait_until

from fairlead_runtime.server.limits import ServerLimits

PREDICT = f"/v1/models/{MODEL}:predict"
BODY = orjson.dumps({"instances": [[1, 2, 3, 4]]})
CANDIDATE = "7ab0c9d1e2"


@pytest.fixture
def replica() -> Iterator[Running]:
    with running() as started:
        yield started


def chunked(trailer: bytes, *, headers: bytes = b"") -> bytes:
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n".encode() + headers + b"\r\n"
    return head + b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(BODY), BODY, trailer)


def test_a_shadow_mark_in_a_trailer_is_ignored(replica: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        port = elsewhere.getsockname()[1]
        raw = replica.send(chunked(f"x-fairlead-shadow: 127.0.0.1:{port}/{CANDIDATE}\r\n".encode()))
        assert raw.startswith(b"HTTP/1.1 200 ")
        # A copy that was queued would have been sent, or counted as failed, before this one.
        replica.send(chunked(b"", headers=f"x-fairlead-shadow: 127.0.0.1:1/{REVISION}\r\n".encode()))
        wait_until(lambda: replica.parts.metrics.measured.pairs(REVISION).failed == 1)
        assert list(replica.parts.metrics.measured.shadow) == [REVISION]
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_a_trailer_changes_no_header_of_this_or_the_next_request(replica: Running) -> None:
    trailer = b"x-request-id: from-the-trailer\r\ninference-header-content-length: 3\r\n"
    own = b"x-request-id: own\r\n"
    raw = replica.send(chunked(trailer, headers=own) + chunked(b"", headers=b"x-request-id: next\r\n"))
    answers = raw.split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"200"]
    assert b"x-request-id: own\r\n" in answers[0]
    assert b"x-request-id: next\r\n" in answers[1]
    assert b"from-the-trailer" not in raw


@pytest.mark.parametrize(
    "trailer",
    [
        pytest.param(b"a: b\r\n" * 200, id="many fields"),
        pytest.param(b"a: " + b"x" * 40_000 + b"\r\nb: c\r\n", id="a large field"),
        pytest.param(b"a: " + b"x" * 4_000_000, id="a field without an end"),
    ],
)
def test_a_trailer_counts_against_the_bound_of_the_head(replica: Running, trailer: bytes) -> None:
    with replica.connect() as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # Without the empty line that would end the trailer: more fields may follow.
            client.sendall(chunked(trailer).removesuffix(b"\r\n"))
        raw = read_all(client)
    assert raw.startswith(b"HTTP/1.1 431 ")
    assert raw.count(b"HTTP/1.1 ") == 1


def test_one_byte_chunks_do_not_count_as_trailers() -> None:
    body = orjson.dumps({"instances": [[1, 2, 3, 4]], "padding": " " * 300_000})
    head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    with running(Setting(limits=ServerLimits(body_bytes_max=1024 * 1024))) as replica:
        assert replica.send(head + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
