"""The counting client against a server that resets, stalls, cuts, lies and closes: each request counts exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from tests.support import counting_client as client

from fairlead_cli.load import runner

pytestmark = pytest.mark.timeout(600)


def _settings(url: str, **changes: object) -> client.Settings:
    values: dict[str, object] = {
        "url": url,
        "model": "digits",
        "bodies": (b'{"inputs": []}',),
        "requests": 10,
        "connections": 1,
        "expect_shape": (1, 2),
    }
    return client.Settings.model_validate({**values, **changes})


def _good(request: client.Request, writer: asyncio.StreamWriter) -> None:
    writer.write(client.answer())


async def test_an_answer_that_differs_in_one_byte_from_the_expected_is_a_failure() -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(client.answer(client.GOOD_BODY if request.number != 7 else client.GOOD_BODY.replace(b"25", b"26")))

    async with client.hostile_server(act) as server:
        bodies = {"bodies": (b"{}", b"[]"), "expect_answers": (client.GOOD_BODY, client.GOOD_BODY)}
        report = await client.run(_settings(server.url, **bodies))

    assert [(failure.id, failure.kind) for failure in report.failures] == [("load-7", client.Kind.BAD_ANSWER)]
    assert report.ok == 9


async def test_counts_good_answers_by_revision_and_sends_each_id_once() -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        revision = "aaaaaaaaaa" if request.number < 30 else "bbbbbbbbbb"
        writer.write(client.answer(headers=(f"x-fairlead-revision: {revision}", f"X-Request-Id: {request.id}")))

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=100, connections=4))

    assert (report.requests, report.ok, report.failed) == (100, 100, 0)
    assert {name: seen.count for name, seen in report.revisions.items()} == {"aaaaaaaaaa": 30, "bbbbbbbbbb": 70}
    assert report.revisions["aaaaaaaaaa"].first_s < report.revisions["bbbbbbbbbb"].first_s
    assert sorted(request.id for request in server.requests) == sorted(f"load-{number}" for number in range(100))
    assert server.connections == 4
    assert report.latency is not None
    assert 0 < report.latency.p50_ms <= report.latency.p99_ms <= report.latency.max_ms


@pytest.mark.parametrize(
    ("misbehave", "kind", "status"),
    [
        pytest.param(lambda writer: client.reset(writer), "reset", None, id="reset without a byte"),
        pytest.param(lambda writer: writer.close(), "reset", None, id="closed without a byte"),
        pytest.param(
            lambda writer: (writer.write(client.answer()[:60]), writer.close()),
            "cut",
            None,
            id="closed within the head",
        ),
        pytest.param(
            lambda writer: (writer.write(client.answer()[:-1]), writer.close()),
            "cut",
            None,
            id="closed within the body",
        ),
        pytest.param(lambda writer: None, "timeout", None, id="no answer"),
        pytest.param(
            lambda writer: writer.write(client.answer()[:-1]), "timeout", None, id="half an answer, then silence"
        ),
        pytest.param(
            lambda writer: writer.write(client.answer(b"no server", status="503 Service Unavailable")),
            "status",
            503,
            id="503",
        ),
        pytest.param(
            lambda writer: writer.write(client.answer(b"{}", status="404 Not Found")), "status", 404, id="404"
        ),
        pytest.param(lambda writer: writer.write(client.answer(b"<html>")), "bad-answer", 200, id="not JSON"),
        pytest.param(lambda writer: writer.write(client.answer(b"[]")), "bad-answer", 200, id="not an object"),
        pytest.param(lambda writer: writer.write(b"SSH-2.0\r\n\r\n"), "bad-answer", None, id="not HTTP"),
        pytest.param(
            lambda writer: writer.write(client.answer() + b"junk"), "bad-answer", None, id="more than it announced"
        ),
        pytest.param(
            lambda writer: writer.write(client.answer(client.GOOD_BODY.replace(b"digits", b"lstm"))),
            "bad-answer",
            200,
            id="another model's answer",
        ),
        pytest.param(
            lambda writer: writer.write(client.answer(client.GOOD_BODY.replace(b"[1,2]", b"[2,1]"))),
            "bad-answer",
            200,
            id="another shape",
        ),
        pytest.param(
            lambda writer: writer.write(client.answer(client.GOOD_BODY.replace(b"0.25,", b""))),
            "bad-answer",
            200,
            id="values missing",
        ),
        pytest.param(
            lambda writer: writer.write(client.answer(headers=("x-request-id: load-999",))),
            "wrong-id",
            200,
            id="another request's answer",
        ),
    ],
)
async def test_each_misbehaviour_is_one_failure_of_its_kind_and_the_run_goes_on(
    misbehave: object, kind: str, status: int | None
) -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        if request.number == 3:
            assert callable(misbehave)
            misbehave(writer)
        else:
            _good(request, writer)

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, timeout_s=2))

    assert (report.requests, report.ok, report.failed) == (10, 9, 1)
    (failure,) = report.failures
    assert (failure.id, failure.kind, failure.status, failure.reused) == ("load-3", kind, status, True)
    assert report.failures_by_kind == {kind: 1}
    assert [request.id for request in server.requests] == [f"load-{number}" for number in range(10)]


async def test_the_failure_of_a_status_keeps_its_body_and_who_answered() -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(
            client.answer(b'{"error": "queue full"}', status="429 Busy", headers=("X-Fairlead-Revision: cccccccccc",))
        )

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=1))

    (failure,) = report.failures
    assert failure.body == '{"error": "queue full"}'
    assert failure.revision == "cccccccccc"
    assert report.statuses == {"429": 1}
    assert report.latency is None


async def test_a_connection_known_to_be_closed_before_the_request_is_replaced_without_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        _good(request, writer)
        writer.write_eof()  # no Connection: close announced it, and it is there as soon as the answer is

    # By a clock that stands still no request is late, however busy the machine: each waits a turn of the loop or more,
    # which sees the end first.
    monkeypatch.setattr(runner._Loop, "elapsed_s", lambda _: 0.0)
    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=4, rate_limit=1000))

    assert (report.ok, report.failed) == (4, 0)
    assert report.reconnects.idle_closed == 3
    assert server.connections == 4


async def test_a_close_that_crosses_the_request_is_a_reset_and_never_sent_again() -> None:
    # One write and the close behind it, in one turn: without a pause the client's next request is already on its way.
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        if request.number_on_connection == 1:
            client.reset(writer)
        else:
            _good(request, writer)

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=10))

    assert (report.ok, report.failed) == (5, 5)
    assert {failure.kind for failure in report.failures} == {"reset"}
    assert all(failure.reused for failure in report.failures)
    assert len(server.requests) == 10
    assert report.reconnects.after_failure == 5


async def test_an_announced_close_is_obeyed_and_is_no_failure() -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(client.answer(headers=("Connection: close",)))

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=5))

    assert (report.ok, report.failed) == (5, 0)
    assert report.reconnects.closed_by_answer == 4
    assert server.connections == 5
    assert report.revisions["(none)"].count == 5


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (client.GOOD_BODY[:10], client.GOOD_BODY[10:]))
            + b"0\r\n\r\n",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + client.answer(), id="an interim answer first"),
    ],
)
async def test_an_answer_that_comes_byte_by_byte_is_one_answer(whole: bytes) -> None:
    async def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        for at in range(len(whole)):
            writer.write(whole[at : at + 1])
            await asyncio.sleep(0)

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=3))

    assert (report.ok, report.failed) == (3, 0), report.summary()
    assert server.connections == 1


async def test_an_answer_that_ends_with_its_connection_is_complete() -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + client.GOOD_BODY)
        writer.close()

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=3, rate_limit=20))

    assert (report.ok, report.failed) == (3, 0), report.summary()


async def test_a_refused_connection_is_a_failure_of_the_request_it_was_for() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else gets the port, and it refuses
        bound.bind(("127.0.0.1", 0))
        report = await client.run(_settings(f"http://127.0.0.1:{bound.getsockname()[1]}", requests=5))

    assert (report.ok, report.failed) == (0, 5)
    assert report.failures_by_kind == {"connect": 5}
    assert [failure.id for failure in report.failures] == [f"load-{number}" for number in range(5)]
    assert report.longest_gap_s == pytest.approx(report.elapsed_s)


async def test_stopping_awaits_the_request_under_way() -> None:
    release = asyncio.Event()
    stop = asyncio.Event()

    async def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        if request.number == 2:
            stop.set()
            await release.wait()
        _good(request, writer)

    async with client.hostile_server(act) as server, asyncio.TaskGroup() as group:
        running = group.create_task(client.run(_settings(server.url, requests=None), stop=stop))
        await stop.wait()
        release.set()
        report = await running

    assert (report.requests, report.ok, report.failed) == (3, 3, 0)


async def test_a_rate_limit_holds_back_and_bodies_are_sent_in_turn() -> None:
    async with client.hostile_server(_good) as server:
        report = await client.run(
            _settings(server.url, requests=10, connections=2, rate_limit=50, bodies=(b"first", b"second"))
        )

    assert report.ok == 10
    assert report.elapsed_s >= 9 / 50
    assert sorted(request.body for request in server.requests) == [b"first"] * 5 + [b"second"] * 5


async def test_in_an_open_loop_a_request_that_waits_for_a_connection_counts_from_when_it_was_due() -> None:
    release = asyncio.Event()
    held: list[asyncio.StreamWriter] = []

    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        if release.is_set():
            writer.write(client.answer())
        else:
            held.append(writer)

    async def one(open_loop: bool) -> float:
        release.clear()
        async with client.hostile_server(act) as server:
            asked = _settings(server.url, requests=20, rate_limit=1000, open_loop=open_loop)
            running = asyncio.create_task(client.run(asked))
            while not held:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            release.set()
            held.pop().write(client.answer())
            report = await running
        assert report.latency is not None
        return report.latency.p50_ms

    # The first answer takes half a second, and with one connection the other 19 requests wait for it.
    assert await one(open_loop=True) > 300
    assert await one(open_loop=False) < 300


async def test_a_run_ends_after_its_time_however_many_connections_wait_for_a_later_request() -> None:
    """With 64 connections at 20 a second, the last one would wait for 3 s."""
    async with client.hostile_server(_good) as server:
        asked = _settings(server.url, requests=None, connections=64, rate_limit=20, duration_s=0.5, open_loop=True)
        report = await client.run(asked)

    assert report.elapsed_s < 2.5
    assert report.ok == 10, "those that were due in half a second, each of them"


def test_an_open_loop_without_a_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="open_loop needs rate_limit"):
        _settings("http://127.0.0.1:1", open_loop=True)


def test_a_key_is_sent_and_shown_nowhere_else() -> None:
    asked = _settings("http://127.0.0.1:1", api_key="a-key-0123456789", headers=(("x-other", "1"),))
    assert b"\r\nx-other: 1\r\nauthorization: Bearer a-key-0123456789\r\n" in asked.request(0)[1]
    assert "a-key" not in repr(asked)
    for wrong in ({"api_key": "a key"}, {"api_key": "a-key\r\nx: 1"}, {"headers": (("Authorization", "Basic a-key"),)}):
        with pytest.raises(ValueError, match=r"api_key|authorization") as refused:
            _settings("http://127.0.0.1:1", **{"api_key": "a-key-0123456789", **wrong})
        assert "a-key" not in str(refused.value)


HEAD = (
    b'{"model_name":"digits","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32",'
    b'"parameters":{"binary_data_size":8}}]}'
)


@pytest.mark.parametrize(
    ("head", "blob", "length", "detail"),
    [
        pytest.param(HEAD, b"8 bytes.", None, "", id="good"),
        pytest.param(HEAD, b"7 bytes", None, "7 bytes of binary data, 8 announced", id="cut"),
        pytest.param(HEAD.replace(b"[1,2]", b"[1,1]"), b"8 bytes.", None, "2 values in shape [1, 1]", id="shape"),
        pytest.param(HEAD.replace(b"[1,2]", b"[2,1]"), b"8 bytes.", None, "instead of [1, 2]", id="other shape"),
        pytest.param(HEAD, b"8 bytes.", "7000", "'7000' in an answer of", id="length"),
        pytest.param(HEAD.replace(b"digits", b"letter"), b"8 bytes.", None, "model 'letter'", id="model"),
    ],
)
async def test_binary_answers_are_checked_by_their_header_and_their_bytes(
    head: bytes, blob: bytes, length: str | None, detail: str
) -> None:
    headers = (f"inference-header-content-length: {length or len(head)}",)

    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(client.answer(head + blob, headers=headers))

    async with client.hostile_server(act) as server:
        report = await client.run(_settings(server.url, requests=1))

    assert report.ok == (1 if not detail else 0)
    assert all(detail in failure.detail for failure in report.failures)


async def test_tensorflow_serving_answers_are_checked_by_their_rows() -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        writer.write(client.answer(b'{"predictions": [[0.1, 0.9], [0.5, 0.5]]}'))

    async with client.hostile_server(act) as server:
        path = "/v1/models/digits:predict"
        good = await client.run(_settings(server.url, path=path, expect_shape=(2, 2), requests=2))
        bad = await client.run(_settings(server.url, path=path, expect_shape=(1, 2), requests=2))

    assert (good.ok, bad.failures_by_kind) == (2, {"bad-answer": 2})


@pytest.mark.real
async def test_a_background_run_counts_in_its_own_process_and_stops_when_told() -> None:
    seen: list[int] = []
    async with client.hostile_server(_good) as server:
        asked = _settings(server.url, requests=None, connections=4, bodies=(b"\x00\xff binary",))

        def drive() -> client.Report:
            with client.background(asked, on_progress=lambda progress: seen.append(progress.requests)) as running:
                assert running.pid != os.getpid()
                running.wait_until(lambda progress: progress.requests >= 50, timeout_s=200)
                report = running.stop()
                assert running.progress().requests == report.requests
                return report

        report = await asyncio.to_thread(drive)

    assert report.failed == 0, report.summary()
    assert report.requests == len(server.requests) >= 50
    assert server.requests[0].body == b"\x00\xff binary"
    assert seen[-1] == report.requests


@pytest.mark.real
async def test_a_background_run_ends_with_the_process_that_started_it() -> None:
    """A killed test run must not leave a load behind."""
    script = (
        "import sys, time\n"
        "from fairlead_cli import load\n"
        "asked = load.Settings(url=sys.argv[1], model='digits', bodies=(b'x',), connections=1)\n"
        "with load.background(asked) as run:\n"
        "    print(run.pid, flush=True)\n"
        "    run.wait(timeout_s=60)\n"
    )
    async with client.hostile_server(_good) as server:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, server.url, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert parent.stdout is not None
        child = int(await parent.stdout.readline())
        async with asyncio.timeout(100):
            while not server.requests:
                await asyncio.sleep(0.02)
            parent.send_signal(signal.SIGKILL)
            await parent.wait()
            while _is_alive(child):
                await asyncio.sleep(0.02)

    assert not _is_alive(child)


@pytest.mark.real
async def test_the_command_line_writes_every_failure_and_says_so_by_its_status(tmp_path: pathlib.Path) -> None:
    def act(request: client.Request, writer: asyncio.StreamWriter) -> None:
        if request.number % 5 == 0:
            client.reset(writer)
        else:
            _good(request, writer)

    body, out = tmp_path / "body.json", tmp_path / "out.json"
    body.write_bytes(b"{}")
    async with client.hostile_server(act) as server:
        command = ["-m", "fairlead_cli.load", "--url", server.url, "--model", "digits", "--body-file", str(body)]
        command += ["--requests", "50", "--connections", "1", "--expect-shape", "1,2", "--json", str(out)]
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE)
        output, _ = await process.communicate()

    assert process.returncode == 1
    assert output.startswith(b"10 failed of 50 requests")
    assert [failure["id"] for failure in json.loads(out.read_text())["failures"]] == [
        f"load-{number}" for number in range(0, 50, 5)
    ]


def _is_alive(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
