"""A HAProxy that an agent without API keys left behind does not go on letting in everybody."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import hashlib
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from tests.support import bare_haproxy, web_tokens
from tests.support.http_thread import HttpThread

from fairlead_gateway import files, main, metrics, request_log, settings
from fairlead_gateway.haproxy import access, config, control, guard, jwks, process, tokens
from fairlead_gateway.haproxy.wanted import map_text

KEY = "team-a-key-0123456789"
FIRST, SECOND = web_tokens.make_key("first"), web_tokens.make_key("second")
ISSUED = settings.Tokens(jwks=Path("jwks.json"), issuer=web_tokens.ISSUER, audiences=(web_tokens.AUDIENCE,))
LET_THROUGH = 404
"""HAProxy has no route."""


@asynccontextmanager
async def adopted(
    folder: Path,
    *,
    has_api_keys: bool,
    flags: tuple[str, ...],
    issued: settings.Tokens | None = None,
    token_keys: tuple[web_tokens.Key, ...] = (),
    replica_port: int | None = None,
    timeout_s: float = 10,
) -> AsyncIterator[tuple[guard.Guard, process.Process, int]]:
    """The guard of an agent that is started with these flags, over a HAProxy that was started without or with keys.

    The HAProxy knows the API key `KEY` and these keys of tokens.
    """
    found = jwks.parse(web_tokens.key_set(token_keys).encode(), settings.ALGORITHMS)
    options = config.Options(
        version="0.1.0",
        max_connections=100,
        has_api_keys=has_api_keys,
        tokens=issued,
        token_keys=tuple(sorted(found.pems)),
    )
    files_ = {access.KEY_MAP: f"{hashlib.sha256(KEY.encode()).hexdigest().upper()} team-a\n"}
    if issued is not None:
        files_[tokens.map_file(issued)] = map_text(found.names or {})
        files_ |= {tokens.key_file(name): pem for name, pem in found.pems.items()}
    with bare_haproxy.running(folder, options, files_, replica_port=replica_port) as port:
        needed = (f"--listen=127.0.0.1:{port}", "--admin=127.0.0.1:1", f"--state-dir={folder}", "--internal-port=2")
        settings_ = main.parse_settings([*needed, *flags])
        log = os.open(folder / "requests.log", os.O_WRONLY)
        running = process.Process(settings_, log_fd=log)
        asked = control.Control(folder, timeout_s=timeout_s)
        assert running.adopt_recorded()
        try:
            yield guard.Guard(settings_, process_=running, control=asked, metrics_=metrics.Metrics()), running, port
        finally:
            asked.close()
            running.leave()
            os.close(log)


async def find_status(port: int, credential: str | None = None) -> int | None:
    """The status of a request with this API key or token, or without one; None where nobody listens."""
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    async with httpx.AsyncClient() as client:
        try:
            return (
                await client.post(f"http://127.0.0.1:{port}/v2/models/digits/infer", headers=headers, timeout=60)
            ).status_code
        except httpx.ConnectError:
            return None


async def test_a_haproxy_that_asks_for_no_key_is_ended_where_clients_need_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = (f"--api-keys={tmp_path / 'missing'}",)
    async with adopted(tmp_path, has_api_keys=False, flags=flags) as (guarding, running, port):
        assert await find_status(port) == 404, "everybody is let in"
        with pytest.raises(control.HAProxyError, match=r"no API keys: .*No such file"):
            await guarding.settle()
        await guarding.end_open_haproxy()
        assert running.died.is_set()
        assert await find_status(port) is None
    assert "haproxy ended reason=it asks for no API key" in caplog.text


@pytest.mark.parametrize(("has_api_keys", "status"), [(False, None), (True, 401)], ids=["open", "asks for a key"])
def test_an_agent_that_cannot_be_made_ends_what_asks_for_no_key(
    tmp_path: Path, *, has_api_keys: bool, status: int | None
) -> None:
    """Its pipe of the request log can't be opened."""
    options = config.Options(version="0.1.0", max_connections=100, has_api_keys=has_api_keys)
    with bare_haproxy.running(tmp_path, options, {access.KEY_MAP: ""}) as port:
        (tmp_path / request_log.PIPE_FILE).mkdir()
        flags = (
            f"--listen=127.0.0.1:{port}",
            "--admin=127.0.0.1:1",
            f"--state-dir={tmp_path}",
            "--internal-port=2",
            f"--api-keys={tmp_path / 'missing'}",
            f"--routes-file={tmp_path / 'routes.json'}",
        )
        with pytest.raises(IsADirectoryError):
            main.run(main.parse_settings(flags))
        assert asyncio.run(find_status(port)) == status


async def test_a_haproxy_where_nobody_listens_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard, "_START_TIMEOUT_S", 0.2)
    flags = (f"--api-keys={tmp_path / 'missing'}",)
    async with adopted(tmp_path, has_api_keys=True, flags=flags) as (guarding, running, _):
        (tmp_path / config.RUNTIME_SOCKET).unlink()
        await guarding.end_open_haproxy()
        assert running.died.is_set()
    assert "haproxy ended reason=it can't be read" in caplog.text


async def test_a_haproxy_that_answers_slowly_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowness says nothing about keys. The next call asks again."""
    monkeypatch.setattr(guard, "_START_TIMEOUT_S", 0.2)
    flags = (f"--api-keys={tmp_path / 'missing'}",)
    async with adopted(tmp_path, has_api_keys=False, flags=flags, timeout_s=0.5) as (guarding, running, port):
        workers = [int(pid) for pid in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()]
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            await guarding.end_open_haproxy()
            assert not running.died.is_set()
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        until_died = asyncio.get_running_loop().time() + 60
        while not running.died.is_set() and asyncio.get_running_loop().time() < until_died:
            await guarding.end_open_haproxy()
        assert await find_status(port) is None, "it asks for no key"


async def test_after_an_application_nothing_is_asked(tmp_path: Path) -> None:
    flags = (f"--api-keys={tmp_path / 'missing'}",)
    async with adopted(tmp_path, has_api_keys=True, flags=flags) as (guarding, running, _):
        asked = control.Control(tmp_path)
        observed = await asked.observe()
        asked.close()
        (tmp_path / config.RUNTIME_SOCKET).unlink()
        await guarding.judge(observed)
        assert not running.died.is_set()
        await guarding.judge(dataclasses.replace(observed, key_map=None))
        assert not running.died.is_set(), "it was seen to ask for keys"


@pytest.mark.parametrize("has_api_keys", [False, True])
async def test_a_haproxy_that_asks_for_keys_or_needs_none_goes_on(tmp_path: Path, *, has_api_keys: bool) -> None:
    flags = (f"--api-keys={tmp_path / 'missing'}",) if has_api_keys else ()
    async with adopted(tmp_path, has_api_keys=has_api_keys, flags=flags) as (guarding, running, port):
        await guarding.end_open_haproxy()
        assert not running.died.is_set()
        assert await find_status(port) == (401 if has_api_keys else 404)


async def test_a_request_in_flight_is_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arrived, released = threading.Event(), threading.Event()

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            arrived.set()
            await asyncio.to_thread(released.wait)
        return web.json_response({})

    def application() -> web.Application:
        made = web.Application()
        made.router.add_route("*", "/{path:.*}", answer)
        return made

    replica = HttpThread(application)
    replica.start()
    flags = (f"--api-keys={tmp_path / 'missing'}",)
    async with adopted(tmp_path, has_api_keys=False, flags=flags, replica_port=replica.port) as (guarding, _, port):
        asked = asyncio.create_task(find_status(port))
        await asyncio.to_thread(arrived.wait)
        ending = asyncio.create_task(guarding.end_open_haproxy())
        while "haproxy ended" not in caplog.text:
            await asyncio.sleep(0.02)
        released.set()
        assert await asked == 200
        await ending
        assert await find_status(port) is None
    replica.stop()


async def test_a_haproxy_that_takes_other_credentials_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that this gateway takes can't be read, and it must not let in the clients of the one before."""
    flags = (f"--jwks={tmp_path / 'missing'}", "--jwt-issuer=i", "--jwt-audience=a")
    async with adopted(tmp_path, has_api_keys=True, flags=flags) as (guarding, running, port):
        with pytest.raises(control.HAProxyError, match=r"no keys of tokens: .*No such file"):
            await guarding.settle()
        await guarding.end_open_haproxy()
        assert running.died.is_set()
        assert await find_status(port) is None
    assert "haproxy ended reason=it takes other credentials than this gateway" in caplog.text


def token_flags(folder: Path, key_set: str, *more: str, issuer: str = web_tokens.ISSUER) -> tuple[str, ...]:
    (folder / "jwks.json").write_text(key_set)
    return (
        f"--jwks={folder / 'jwks.json'}",
        f"--jwt-issuer={issuer}",
        f"--jwt-audience={web_tokens.AUDIENCE}",
        *more,
    )


async def test_keys_of_a_kind_that_is_not_taken_any_more_are_refused_at_once(tmp_path: Path) -> None:
    flags = token_flags(tmp_path, '{"keys": []}')
    async with adopted(tmp_path, has_api_keys=True, flags=flags) as (guarding, _, _port):
        asked = control.Control(tmp_path)
        assert (await asked.observe()).key_map
        await guarding.settle()
        assert (await asked.observe()).key_map == {}
        asked.close()


@pytest.mark.parametrize("has_api_keys", [False, True], ids=["tokens alone", "also API keys"])
@pytest.mark.parametrize("changed", ["--jwt-claim=scope models.read", "--jwt-clock-skew=0", "--jwt-algorithm=ES384"])
async def test_a_haproxy_that_judges_tokens_by_other_rules_is_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: str, *, has_api_keys: bool
) -> None:
    """Its configuration could not be changed, and the rules before may let in more."""
    (tmp_path / "keys").mkdir()
    flags = token_flags(tmp_path, "{", changed, *((f"--api-keys={tmp_path / 'keys'}",) if has_api_keys else ()))
    async with adopted(tmp_path, has_api_keys=has_api_keys, flags=flags, issued=ISSUED, token_keys=(FIRST,)) as (
        guarding,
        running,
        port,
    ):
        assert await find_status(port, FIRST.token()) == LET_THROUGH
        await guarding.end_open_haproxy()
        assert running.died.is_set()
        assert await find_status(port) is None
    assert "haproxy ended reason=it takes other credentials than this gateway, or by other rules" in caplog.text


@pytest.mark.parametrize("is_judged", [False, True], ids=["an application failed", "it was done"])
async def test_a_haproxy_with_the_same_rules_goes_on(tmp_path: Path, *, is_judged: bool) -> None:
    flags = token_flags(tmp_path, "{")
    async with adopted(tmp_path, has_api_keys=False, flags=flags, issued=ISSUED, token_keys=(FIRST,)) as (
        guarding,
        running,
        port,
    ):
        if is_judged:
            asked = control.Control(tmp_path)
            await guarding.judge(await asked.observe())
            asked.close()
        else:
            await guarding.end_open_haproxy()
        assert not running.died.is_set()
        assert await find_status(port, FIRST.token()) == LET_THROUGH


async def test_after_an_application_other_rules_end_it_too(tmp_path: Path) -> None:
    """As where the reload with this gateway's rules has to wait."""
    flags = token_flags(tmp_path, "{", issuer="https://other.example.org")
    async with adopted(tmp_path, has_api_keys=False, flags=flags, issued=ISSUED, token_keys=(FIRST,)) as (
        guarding,
        running,
        _,
    ):
        asked = control.Control(tmp_path)
        await guarding.judge(await asked.observe())
        asked.close()
        assert running.died.is_set()


@pytest.mark.parametrize("unreadable", ["tokens", "API keys"])
async def test_a_removed_credential_is_refused_while_the_other_kind_cannot_be_read(
    tmp_path: Path, unreadable: str
) -> None:
    """An agent restarts over a HAProxy that knows what was removed meanwhile."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "team-b").write_text("team-b-key-0123456789")
    folder = tmp_path / ("missing" if unreadable == "API keys" else "keys")
    key_set = "<html>502</html>" if unreadable == "tokens" else web_tokens.key_set([SECOND])
    flags = (*token_flags(tmp_path, key_set), f"--api-keys={folder}")
    async with adopted(tmp_path, has_api_keys=True, flags=flags, issued=ISSUED, token_keys=(FIRST, SECOND)) as (
        guarding,
        running,
        port,
    ):
        words = "no keys of tokens: .*must be JSON" if unreadable == "tokens" else "no API keys: .*No such file"
        with pytest.raises(control.HAProxyError, match=words):
            await guarding.settle()
        assert not running.died.is_set()
        assert await find_status(port, KEY) == (401 if unreadable == "tokens" else LET_THROUGH)
        assert await find_status(port, FIRST.token()) == (LET_THROUGH if unreadable == "tokens" else 401)
        assert await find_status(port, SECOND.token()) == LET_THROUGH


@pytest.mark.parametrize("is_ending", [False, True], ids=["in a pass", "as the agent ends"])
async def test_a_removed_key_is_refused_where_the_state_folder_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_ending: bool
) -> None:
    third = web_tokens.make_key("third")
    flags = token_flags(tmp_path, web_tokens.key_set([SECOND, third]))
    async with adopted(tmp_path, has_api_keys=False, flags=flags, issued=ISSUED, token_keys=(FIRST, SECOND)) as (
        guarding,
        running,
        port,
    ):

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files, "write", refuse)
        if is_ending:
            await guarding.end()
        else:
            with pytest.raises(OSError, match="No space"):
                await guarding.settle()
        assert not running.died.is_set()
        assert await find_status(port, FIRST.token()) == 401
        assert await find_status(port, SECOND.token()) == LET_THROUGH
