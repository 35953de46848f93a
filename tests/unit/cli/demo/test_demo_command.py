"""`fairlead demo` reports a server that it can't reach, with its address."""

from __future__ import annotations

import pathlib
import socket

import httpx
import pytest
import typer.testing

from fairlead_cli import main
from fairlead_cli.demo import story


def test_a_server_that_cannot_be_reached_is_named_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path / "cache"))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/v2/models/dense"

        def ask_nobody(_: story.Story) -> None:
            httpx.get(url)

        monkeypatch.setattr(story.Story, "run", ask_nobody)
        result = typer.testing.CliRunner().invoke(main.app, ["demo", "--name", "refused"])
    assert result.exit_code == 1
    assert f"The demo failed: {url}: ConnectError: " in result.output
    assert "Traceback" not in result.output
