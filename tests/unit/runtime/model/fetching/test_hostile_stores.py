"""Stores that answer without an end: each fetch ends within its bounds, and its error has the bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest
from tests.support import object_servers, raw_server
from tests.support.raw_server import Connection

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache

MIB = 1024 * 1024
BOUNDS = Bounds(bytes_max=8 * MIB, entries_max=50, overhead_bytes_max=MIB, idle_s=60, total_s=120)
QUICK = Bounds(bytes_max=8 * MIB, entries_max=50, overhead_bytes_max=64 * MIB, idle_s=5, total_s=0.5)
OVERHEAD = "sent more than 1048576 bytes that are not the model's content"
TIME = "was not read within 0.5 s (FAIRLEAD_FETCH_TOTAL_SECONDS)"
S3, GS, AZ = "s3://models/m/", "gs://models/m/", "az://models/m/"
ROW = "<Contents><Key>{name}</Key><Size>{size}</Size><ETag>{tag}</ETag><LastModified>{date}</LastModified></Contents>"


def answer(body: bytes, status: str = "200 OK", *, length: int | None = None, more: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n{more}Connection: close\r\n\r\n".encode() + body


def page(*, more: bool = False, rows: str = "") -> bytes:
    token = "<NextContinuationToken>more</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>".encode()


EMPTY_PAGES = {
    S3: page(more=True),
    GS: page(more=True),
    AZ: b"<EnumerationResults><Blobs></Blobs><NextMarker>more</NextMarker></EnumerationResults>",
}


def row(name: str, size: int, *, tag: str = "&quot;1&quot;", date: str = "2026-01-01T00:00:00.000Z") -> str:
    return ROW.format(name=name, size=size, tag=tag, date=date)


def play_large_listing(connection: Connection) -> None:
    connection.send(answer(b"<ListBucketResult>", length=10**8))
    connection.send_without_end(b"<CommonPrefixes><Prefix>a</Prefix></CommonPrefixes>")


def play_listing_of_unknown_length(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    connection.send_without_end(b"8\r\n        \r\n")


def play_large_error(connection: Connection) -> None:
    connection.send(answer(b"<Error>", "404 Not Found", length=10**8))
    connection.send_without_end(b" " * 1024)


def play_slow_listing(connection: Connection) -> None:
    connection.send(answer(b"", length=10**6))
    connection.drip(b" ")


def play_slow_head(connection: Connection) -> None:
    connection.drip(b"HTTP/1.1 200 OK\r\nX-More: ")


def refusal(play: Callable[[Connection], None], tmp_path: Path, uri: str, bounds: Bounds = BOUNDS) -> LoadError:
    with raw_server.serving(play) as served:
        access = object_servers.access(served.url, tmp_path / "secrets")
        if uri == AZ:
            values = {"AZURE_STORAGE_ACCOUNT_NAME": "models"}
            object_servers.write_secret(tmp_path / "secrets", "account", values)
            access = object_servers.access(served.url, tmp_path / "secrets", "account")
        with pytest.raises(LoadError) as raised:
            source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), bounds, access=access)
    return raised.value


@pytest.mark.parametrize("uri", [S3, GS, AZ])
@pytest.mark.parametrize("play", [play_large_listing, play_listing_of_unknown_length, play_large_error])
def test_an_answer_of_any_size_ends_the_fetch(play: Callable[[Connection], None], uri: str, tmp_path: Path) -> None:
    error = refusal(play, tmp_path, uri)
    assert (error.reason, OVERHEAD in error.sentence) == (LoadReason.FETCH_FAILED, True), error.sentence


def play_answer_of_an_impossible_size(connection: Connection) -> None:
    """The library takes so much memory for the second part of it, and Rust ends the process that has not so much."""
    connection.send(answer(b"<ListBucketResult>", length=10**12))
    connection.stopped.wait(0.1)
    connection.send(b" ")
    connection.stopped.wait(20)


def test_an_answer_of_an_impossible_size_ends_the_fetch_and_not_this_process(tmp_path: Path) -> None:
    error = refusal(play_answer_of_an_impossible_size, tmp_path, S3)
    assert error.reason is LoadReason.FETCH_FAILED
    assert "the process that reads the store ended with signal 6" in error.sentence


@pytest.mark.parametrize("uri", [S3, GS, AZ])
def test_empty_pages_without_an_end_end_the_fetch(uri: str, tmp_path: Path) -> None:
    pages = [0]

    def play(connection: Connection) -> None:
        pages[0] += 1
        connection.send(answer(EMPTY_PAGES[uri]))

    small = dataclasses.replace(BOUNDS, overhead_bytes_max=50_000)
    error = refusal(play, tmp_path, uri, small)
    assert "sent more than 50000 bytes" in error.sentence, error.sentence
    assert pages[0] < 50_000 / len(EMPTY_PAGES[uri])


@pytest.mark.parametrize("play", [play_slow_listing, play_slow_head])
def test_a_store_that_sends_a_byte_at_a_time_ends_the_fetch_in_time(
    play: Callable[[Connection], None], tmp_path: Path
) -> None:
    error = refusal(play, tmp_path, S3, QUICK)
    assert TIME in error.sentence, error.sentence


def test_empty_pages_end_the_fetch_in_time(tmp_path: Path) -> None:
    error = refusal(lambda connection: connection.send(answer(EMPTY_PAGES[S3])), tmp_path, S3, QUICK)
    assert TIME in error.sentence, error.sentence


def test_content_that_came_buys_no_answer_of_the_same_size(tmp_path: Path) -> None:
    """Else a store could send a large object, and then an error that the library keeps in memory whole."""
    sent = 4 * MIB
    seen, given = [0], Event()

    def play(connection: Connection) -> None:
        if "list-type" in connection.target:
            rows = row("m/a", sent) + row("m/b", sent)
            connection.send(answer(page(rows=rows)))
        elif connection.target.endswith("/a"):
            more = f'ETag: "1"\r\nContent-Range: bytes 0-{sent - 1}/{sent}\r\n'
            connection.send(answer(b"x" * sent, "206 Partial Content", more=more))
            given.set()
        else:
            given.wait(100)
            connection.send(answer(b"", "404 Not Found", length=10**8))
            while not connection.stopped.is_set():
                connection.send(b" " * 65536)
                seen[0] += 65536

    error = refusal(play, tmp_path, S3)
    assert OVERHEAD in error.sentence, error.sentence
    # What lies in the buffers of both connections was sent as well.
    assert seen[0] < 16 * MIB


@pytest.mark.parametrize("tag", ["a&#10;b: c", "a\0b", "x" * 100_000, "\u00e9", ""])
def test_a_tag_that_no_request_can_have_is_not_sent(tag: str, tmp_path: Path) -> None:
    """The library ends with a panic, which is no Exception, where a header can't have it."""

    def play(connection: Connection) -> None:
        if "list-type" in connection.target:
            connection.send(answer(page(rows=row("m/a", 3, tag=tag))))
        else:
            assert b"if-match" not in connection.request.lower()
            connection.send(answer(b"abc", "206 Partial Content", more='ETag: "1"\r\nContent-Range: bytes 0-2/3\r\n'))

    with raw_server.serving(play) as served:
        access = object_servers.access(served.url, tmp_path)
        found = source.fetch(S3, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)
    assert (found.path / "a").read_bytes() == b"abc"


@pytest.mark.parametrize("date", ["-262143-01-01T00:00:00Z", "9999999-01-01T00:00:00Z", "", "today"])
def test_a_date_that_is_none_is_no_answer_of_a_store(date: str, tmp_path: Path) -> None:
    error = refusal(lambda connection: connection.send(answer(page(rows=row("m/a", 3, date=date)))), tmp_path, S3)
    assert error.sentence.endswith("could not be read: what answers is not a store of this protocol")


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-internal\r\n",
        b"HTTP/1.1 500 internal\r\nConnection: close\r\n\r\ninternal",
        b"HTTP/1.1 403 internal\r\nConnection: close\r\n\r\n<html>internal</html>",
        b"HTTP/1.1 400 internal\r\nConnection: close\r\n\r\n<Code>the internal words</Code><Message>internal</Message>",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<Code>internal</Code>",
    ],
)
def test_no_text_of_a_server_that_is_no_store_is_shown(sent: bytes, tmp_path: Path) -> None:
    error = refusal(lambda connection: connection.send(sent), tmp_path, S3)
    assert "internal" not in error.sentence, error.sentence
