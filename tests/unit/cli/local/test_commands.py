"""What the person sees when there is nothing to do, or nothing can be done."""

from __future__ import annotations

import pathlib

import pytest
import typer.testing

from fairlead_cli import main


def run(*arguments: str) -> tuple[int, str]:
    result = typer.testing.CliRunner().invoke(main.app, ["local", *arguments])
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def _own_state(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path / "cache"))


def test_down_succeeds_when_the_cluster_is_not_running() -> None:
    assert run("down", "--name", "none") == (0, "none was not running\n")


def test_down_all_succeeds_when_there_is_no_cluster() -> None:
    assert run("down", "--all")[0] == 0


def test_status_of_a_stopped_cluster_says_how_to_start_it() -> None:
    code, output = run("status", "--name", "none")
    assert code == 1
    assert "fairlead local up" in output


def test_kubeconfig_fails_when_the_cluster_is_not_running() -> None:
    code, output = run("kubeconfig", "--name", "none")
    assert code == 1
    assert "not running" in output


def test_an_unknown_part_is_refused_and_the_known_parts_are_listed() -> None:
    code, output = run("up", "--only", "ray,kubelet")
    assert code == 1
    assert "unknown parts: kubelet; choose from etcd" in output.replace("\n", " ")
