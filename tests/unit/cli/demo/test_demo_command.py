"""`fairlead demo` reports what failed in one sentence, and leaves nothing running, also after a Ctrl-C."""

from __future__ import annotations

import pathlib
import signal
import socket
import tempfile
from collections.abc import Callable

import httpx
import pytest
import typer.testing

from fairlead_cli import main
from fairlead_cli.demo import life, narration, story
from fairlead_cli.local import cluster


def test_a_server_that_cannot_be_reached_is_named_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
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


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> list[str]:
    """The names of the clusters that were taken down."""
    names: list[str] = []
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cluster.LocalCluster, "down", lambda self: names.append(self.name))
    return names


def raising(error: BaseException) -> Callable[[life.Life], None]:
    def end(_: life.Life) -> None:
        raise error

    return end


@pytest.mark.parametrize(
    ("end", "code", "sentence"),
    [
        (raising(narration.DemoFailed("3 requests failed")), 1, "The demo failed: 3 requests failed"),
        (raising(KeyboardInterrupt()), 130, "Interrupted"),
        (lambda _: signal.raise_signal(signal.SIGTERM), 130, "Interrupted"),
    ],
    ids=["failure", "Ctrl-C", "SIGTERM"],
)
def test_a_life_that_does_not_end_well_leaves_no_cluster(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    ended: list[str],
    end: Callable[[life.Life], None],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(life.Life, "run", end)
    out = str(tmp_path / "pictures")
    result = typer.testing.CliRunner().invoke(main.app, ["demo", "--life", "--name", "lives", "--out", out])
    assert (result.exit_code, ended) == (code, ["lives", "lives"])
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_a_failure_with_keep_leaves_the_cluster_for_a_look(monkeypatch: pytest.MonkeyPatch, ended: list[str]) -> None:
    def end(_: life.Life) -> None:
        raise narration.DemoFailed("no drift was found")

    monkeypatch.setattr(life.Life, "run", end)
    result = typer.testing.CliRunner().invoke(main.app, ["demo", "--life", "--keep", "--name", "lives"])
    assert (result.exit_code, ended) == (1, ["lives"])
    assert "fairlead local down --name lives" in result.output
