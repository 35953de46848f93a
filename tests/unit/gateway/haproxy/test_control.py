"""What HAProxy answers is taken whole or not at all."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from fairlead_gateway.haproxy import config
from fairlead_gateway.haproxy.control import Control, HAProxyError

T = TypeVar("T")
WHOLE = "1\n# be_id be_name\n3 p0001 1 s0\n\n"
"""As HAProxy 2.8 ends each answer; the integration tests hear the real one."""


def run_with(folder: pathlib.Path, answer: str, ask: Callable[[Control], Awaitable[T]]) -> T:
    """What is made of a HAProxy that says this to whatever it is asked, and ends."""

    async def answer_with(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.write(answer.encode())
        writer.close()

    async def run() -> T:
        server = await asyncio.start_unix_server(answer_with, folder / config.RUNTIME_SOCKET)
        control = Control(folder)
        try:
            return await ask(control)
        finally:
            control.close()
            server.close()

    return asyncio.run(run())


def asked(folder: pathlib.Path, answer: str) -> str:
    return run_with(folder, answer, lambda control: control.ask("show servers state"))


@pytest.mark.parametrize("answer", [WHOLE, "\n", "\n\n", "No such server.\n\n"])
def test_a_complete_answer_is_returned(tmp_path: pathlib.Path, answer: str) -> None:
    assert asked(tmp_path, answer) == answer


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_a_truncated_answer_is_an_error(tmp_path: pathlib.Path, length: int) -> None:
    with pytest.raises(HAProxyError, match="cut off"):
        asked(tmp_path, WHOLE[:length])


def test_a_refused_server_command_does_not_stop_the_others(tmp_path: pathlib.Path) -> None:
    refusal = "Server still has connections attached to it, cannot remove it."
    answer = f"New server registered.\n\n\n{refusal}\n\nServer deleted.\n\n"

    assert run_with(tmp_path, answer, lambda control: control.try_each(["add server a/b", "del server a/c"])) == [
        refusal
    ]
