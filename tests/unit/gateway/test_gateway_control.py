"""What HAProxy answers is taken whole or not at all."""

from __future__ import annotations

import asyncio
import pathlib

import pytest

from fairlead_gateway.haproxy import config
from fairlead_gateway.haproxy.control import Control, HAProxyError

WHOLE = "1\n# be_id be_name\n3 rev_a 1 s0\n\n"
"""As HAProxy 2.8 ends each answer; the integration tests hear the real one."""


def asked(folder: pathlib.Path, answer: str) -> str:
    """What is heard of a HAProxy that says this and ends."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(answer.encode())
        writer.close()

    async def ask() -> str:
        server = await asyncio.start_unix_server(say, folder / config.RUNTIME_SOCKET)
        control = Control(folder)
        try:
            return await control.ask("show servers state")
        finally:
            control.close()
            server.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("answer", [WHOLE, "\n", "\n\n", "No such server.\n\n"])
def test_a_whole_answer_is_heard(tmp_path: pathlib.Path, answer: str) -> None:
    assert asked(tmp_path, answer) == answer


@pytest.mark.parametrize("heard", range(len(WHOLE)))
def test_an_answer_that_ends_too_soon_is_an_error_and_not_fewer_servers(tmp_path: pathlib.Path, heard: int) -> None:
    with pytest.raises(HAProxyError, match="cut off"):
        asked(tmp_path, WHOLE[:heard])
