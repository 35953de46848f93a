"""What the person sees when there is nothing to do, or nothing can be done."""

from __future__ import annotations

import json
import pathlib
import re
import secrets

import pytest
import typer.testing

from fairlead_cli import main
from fairlead_cli.local import paths, process_table, processes


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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("up", "--node", "--only", "ray"), "--only has no effect with --node"),
        (("up", "--node", "--namespace", "default"), "--namespace has no effect with --node"),
        (("down", "--all", "--name", "mine"), "--name has no effect with --all"),
    ],
)
def test_options_without_effect_in_combination_are_refused(
    arguments: tuple[str, ...], expected: str, tmp_path: pathlib.Path
) -> None:
    kept = tmp_path / "state" / "mine"
    kept.mkdir(parents=True)
    assert run(*arguments) == (1, f"{expected}: leave one of them out\n")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/tmp/x", "Upper", "x" * 41, "-a"])
@pytest.mark.parametrize("command", ["down", "up", "status", "kubeconfig", "install"])
def test_what_is_no_name_is_refused_before_anything_is_removed(command: str, name: str, tmp_path: pathlib.Path) -> None:
    kept = tmp_path / "state" / "default" / "state.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    code, output = run(command, "--name", name)
    assert code == 2
    assert "lower-case letters" in " ".join(output.replace("│", " ").split())
    assert kept.exists()


def test_the_demo_removes_no_cluster_of_another_name(tmp_path: pathlib.Path) -> None:
    kept = tmp_path / "state" / "mine" / "state.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    result = typer.testing.CliRunner().invoke(main.app, ["demo", "--name", "mine"])
    assert result.exit_code == 1
    assert "exists" in result.output
    assert kept.exists()


def test_status_of_a_stopped_cluster_says_how_to_start_it() -> None:
    code, output = run("status", "--name", "none")
    assert code == 1
    assert "fairlead local up" in output


def test_kubeconfig_fails_when_the_cluster_is_not_running() -> None:
    code, output = run("kubeconfig", "--name", "none")
    assert code == 1
    assert "not running" in output


def test_install_without_a_node_says_how_to_start_one() -> None:
    code, output = run("install", "--name", "none")
    assert code == 1
    assert "fairlead local up --node" in output


FOREIGN = [
    pytest.param(
        '{"name": "old", "mark": "00ff", "phase": "Up", "chosen": {"future": 1}, "run": "/x"}', id="a newer one"
    ),
    pytest.param('{"name": "old", "phase": "Resting"}', id="an older one"),
    pytest.param("[]", id="another thing"),
    pytest.param("", id="nothing"),
    pytest.param("\0\1", id="damaged"),
]


@pytest.fixture
def foreign(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> pathlib.Path:
    """The state of a cluster that this version can't read."""
    root = paths.clusters_dir() / "old"
    root.mkdir(parents=True)
    (root / "state.json").write_text(request.param)
    return root


@pytest.mark.parametrize("foreign", FOREIGN, indirect=True)
@pytest.mark.parametrize("command", ["up", "status", "kubeconfig"])
def test_the_state_of_another_version_is_named_with_what_to_do(foreign: pathlib.Path, command: str) -> None:
    only = ["--only", "etcd"] if command == "up" else []
    code, output = run(command, "--name", "old", *only)
    shown = " ".join(output.split())
    assert code == 1
    assert "written by another version of Fairlead, or is damaged" in shown
    assert "`fairlead local down --name old` ends what runs and removes it" in shown
    assert "Traceback" not in shown
    assert "pydantic" not in shown
    assert foreign.exists()


@pytest.mark.parametrize("foreign", FOREIGN, indirect=True)
def test_down_removes_the_state_of_another_version(foreign: pathlib.Path) -> None:
    assert run("down", "--name", "old") == (0, "old is removed\n")
    assert not foreign.exists()


def test_down_ends_the_processes_of_another_version(tmp_path: pathlib.Path) -> None:
    root = paths.clusters_dir() / "old"
    (root / "logs").mkdir(parents=True)
    mark = secrets.token_hex(16)
    (root / "state.json").write_text(json.dumps({"mark": mark, "phase": "Future"}))
    ledger = processes.Ledger(folder=root / "processes", mark=mark)
    living = ledger.start("future-part", processes.Command(argv=["sleep", "600"], log=root / "logs" / "log"))

    assert run("down", "--name", "old")[0] == 0
    assert not process_table.is_alive(living)


def test_an_unknown_part_is_refused_and_the_known_parts_are_listed() -> None:
    code, output = run("up", "--only", "ray,kubelet")
    assert code == 1
    assert "unknown parts: kubelet; choose from etcd" in output.replace("\n", " ")


def test_each_variable_that_the_code_reads_is_documented() -> None:
    root = pathlib.Path(__file__).parents[4]
    code = "".join(path.read_text() for path in (root / "cli/fairlead_cli/local").rglob("*.py"))
    read = set(re.findall(r"environ(?:ment)?\.get\(\"(\w+)\"", code)) - {"PATH", "LD_LIBRARY_PATH"}
    documented = set(re.findall(r"^\| `(\w+)` \|", (root / "docs/tutorial.md").read_text(), re.MULTILINE))
    assert {"FAIRLEAD_CACHE", "FAIRLEAD_KUBERNETES_URL", "FAIRLEAD_ETCD_URL", "XDG_STATE_HOME"} <= read
    assert read == documented
