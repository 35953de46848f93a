"""`ray start` by our program: when it makes workers forks, and what it says when it doesn't."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from fairlead_ray_node import agent_port, early, launcher, ray_start

PYTHON = sys.executable


class Started:
    """What `ray start` was run with."""

    arguments: list[str] | None = None
    python = ""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()

    def main() -> int:
        found.arguments, found.python = sys.argv, sys.executable
        return 0

    scripts = types.SimpleNamespace(main=main)
    monkeypatch.setitem(sys.modules, "ray.scripts", types.SimpleNamespace(scripts=scripts))
    accelerators = types.SimpleNamespace(get_all_accelerator_managers=lambda: set())
    monkeypatch.setitem(sys.modules, "ray.scripts.scripts", scripts)
    node = types.SimpleNamespace(Node=types.SimpleNamespace(dead_processes=list))
    monkeypatch.setitem(sys.modules, "ray._private", types.SimpleNamespace(services=types.SimpleNamespace(), node=node))
    monkeypatch.setitem(sys.modules, "ray._private.accelerators", accelerators)
    monkeypatch.setattr(sys, "argv", ["ray_start"])
    monkeypatch.setattr(sys, "executable", PYTHON)
    monkeypatch.delenv(ray_start.SWITCH, raising=False)
    monkeypatch.delenv(ray_start.SUBREAPER, raising=False)
    monkeypatch.delenv(launcher.TEMPLATE_WITHIN, raising=False)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ray_start, "FOLDER_BYTES_MAX", 200)
    monkeypatch.setenv(ray_start.FOLDER, str(tmp_path / "warm"))
    return tmp_path / "warm"


def test_the_replacement_for_python_behaves_like_python(started: Started, folder: Path) -> None:
    assert ray_start.main(["--address=127.0.0.1:1", "--block"]) == 0
    assert started.arguments == ["ray", "start", "--address=127.0.0.1:1", "--block"]
    assert started.python == str(folder / "python")
    output = subprocess.run([started.python, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True)
    assert output.stdout.strip() == PYTHON


def test_the_replacement_for_python_runs_in_a_folder_of_any_name(tmp_path: Path) -> None:
    invalid = tmp_path / 'it\'s a "folder" $HOME'
    invalid.mkdir()
    python = invalid / "python of mine"
    python.symlink_to(PYTHON)
    path = ray_start.write_stand_in(invalid, str(python))
    output = subprocess.run([path, "-c", "print(1)"], capture_output=True, text=True)
    assert output.stdout == "1\n", output.stderr


def test_the_switch_is_on_or_off(
    started: Started, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ray_start.SWITCH, "off")
    assert ray_start.main([]) == 0
    assert (started.python, started.arguments) == (PYTHON, ["ray", "start"])
    assert capsys.readouterr().err == "workers start the ordinary way: FAIRLEAD_WARM_START is 'off'\n"
    monkeypatch.setenv(ray_start.SWITCH, "0")
    assert ray_start.main([]) == 2
    assert capsys.readouterr().err == "FAIRLEAD_WARM_START must be 'on' or 'off', not '0'\n"


def test_a_worker_waits_as_long_for_its_template_as_the_variable_says() -> None:
    assert launcher.template_within_s({}) == 15
    assert launcher.template_within_s({"FAIRLEAD_WARM_START_SECONDS": ""}) == 15
    assert launcher.template_within_s({"FAIRLEAD_WARM_START_SECONDS": "120"}) == 120


@pytest.mark.parametrize("given", ["0", "601", "-1", "1.5", "nan", "soon"])
def test_a_wait_for_the_template_that_is_no_number_of_seconds_is_refused(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    monkeypatch.setenv("FAIRLEAD_WARM_START_SECONDS", given)
    assert ray_start.main([]) == 2
    expected = f"FAIRLEAD_WARM_START_SECONDS must be a whole number from 1 to 600, not '{given}'\n"
    assert capsys.readouterr().err == expected
    assert started.arguments is None


@pytest.mark.parametrize("arguments", [["--num-gpus=1"], ["--head", "--num-gpus", "2"]])
def test_a_node_with_a_gpu_option_does_not_fork_its_workers(
    started: Started, folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert ray_start.main(arguments) == 0
    assert started.python == PYTHON
    assert "GPUs" in capsys.readouterr().err
    assert ray_start.accelerators(["--num-gpus", "0"]) == ""


def test_a_node_with_devices_does_not_fork_its_workers(
    started: Started, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = types.SimpleNamespace(get_current_node_num_accelerators=lambda: 4, get_resource_name=lambda: "TPU")
    found = types.SimpleNamespace(get_all_accelerator_managers=lambda: [manager])
    monkeypatch.setitem(sys.modules, "ray._private.accelerators", found)
    assert ray_start.main([]) == 0
    assert started.python == PYTHON
    assert "the node has 4 TPU" in capsys.readouterr().err


def test_settings_that_count_or_kill_the_template_switch_forking_off(started: Started) -> None:
    with pytest.raises(ray_start.NotWarm, match="subreaper is set"):
        ray_start.refuse([], {ray_start.SUBREAPER: "True"})
    with pytest.raises(ray_start.NotWarm, match="enable-resource-isolation"):
        ray_start.refuse(["--enable-resource-isolation"], {})
    ray_start.refuse([], {ray_start.SUBREAPER: "0"})


def test_ray_starts_whatever_goes_wrong(
    started: Started, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray._private.accelerators", None)  # as if a release had moved it
    assert ray_start.main(["--head"]) == 0
    assert (started.python, started.arguments) == (PYTHON, ["ray", "start", "--head"])
    assert "workers start the ordinary way: ModuleNotFoundError" in capsys.readouterr().err


def test_the_folder_must_be_private_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_start, "FOLDER_BYTES_MAX", 200)
    made = ray_start.folder({ray_start.FOLDER: str(tmp_path / "made")})
    assert made.stat().st_mode & 0o777 == 0o700
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    link = tmp_path / "link"
    link.symlink_to(made)
    (tmp_path / "file").touch(mode=0o600)
    for name, reason in (
        ("open", "mode 0700"),
        ("link", "mode 0700"),
        ("file", "File exists"),
        ("n" * 200, "200 bytes"),
    ):
        with pytest.raises(ray_start.NotWarm, match=reason):
            ray_start.folder({ray_start.FOLDER: str(tmp_path / name)})


def test_without_a_folder_a_new_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_start, "FOLDER_BYTES_MAX", 200)
    monkeypatch.setattr(ray_start.tempfile, "tempdir", str(tmp_path))
    assert ray_start.folder({}).parent == tmp_path


def test_the_template_is_started_early_from_the_command_line_of_the_raylet() -> None:
    raylet = ["A=1", "B=x=y", "LD_PRELOAD=libjemalloc.so", "not a variable"]
    expected = {"A": "1", "B": "x=y", "SPT_NOENV": "1", "RAY_JOB_ID": "01000000", "RAY_RAYLET_PID": "77"}
    assert early.worker_environment(raylet, 77) == expected
    option = '--python_worker_command=/run/python "/a b/setup_worker.py" "/a b/default_worker.py" --temp-dir=/t --x'
    assert early.worker_command(["raylet", option]) == ["/a b/default_worker.py", "--temp-dir=/t", "--x"]


def test_a_raylet_is_found_however_long_ray_takes_to_start_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    raylet = tmp_path / "raylet"
    raylet.symlink_to("/bin/sleep")
    polls = 0
    started: list[subprocess.Popen[bytes]] = []

    def pass_time(seconds: float) -> None:
        nonlocal polls
        polls += 1
        if polls == 3000:
            started.append(subprocess.Popen([raylet, "60"]))

    monkeypatch.setattr(time, "sleep", pass_time)
    monkeypatch.setattr(time, "monotonic", lambda: polls * 0.1)
    monkeypatch.setattr(os, "getppid", os.getpid)
    try:
        assert early.find_raylet(os.getpid()) == started[0].pid
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_no_raylet_is_looked_for_once_ray_start_has_ended() -> None:
    assert early.find_raylet(os.getppid() + 1) is None


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        (["--head", "--dashboard-agent-listen-port=7"], 7),
        (["--dashboard-agent-listen-port", "52365", "--block"], 52365),
        (["--dashboard-agent-listen-port=0"], None),
        (["--dashboard-agent-listen-port"], None),
        (["--dashboard-agent-grpc-port=7"], None),
    ],
)
def test_the_raylet_gets_the_fixed_port_of_its_agent(arguments: list[str], port: int | None) -> None:
    assert agent_port.fixed_port(arguments) == port


@pytest.mark.parametrize(
    ("arguments", "is_left_out"),
    [
        (["--head", "--block"], True),
        (["--ray-client-server-port=7"], False),
        (["--ray-client-server-port", "7"], False),
    ],
)
def test_the_server_of_ray_client_is_left_out_unless_its_port_is_given(arguments: list[str], is_left_out: bool) -> None:
    program = "from ray.scripts import scripts\nfrom fairlead_ray_node import client_server\n"
    program += f"client_server.leave_out({arguments})\nprint(scripts.get_ray_client_dependency_error())"
    done = subprocess.run([PYTHON, "-c", program], check=True, capture_output=True, text=True)
    assert (done.stdout.strip() != "None") == is_left_out


def test_only_a_raylet_without_the_port_gets_it() -> None:
    seen: list[list[str]] = []

    def start(command: list[str], process_type: str, fate_share: bool, *, cwd: str) -> str:
        assert fate_share
        assert cwd == "/"
        seen.append(command)
        return process_type

    start_process = agent_port.with_port(start, 7)
    assert start_process(["raylet"], "raylet", True, cwd="/") == "raylet"
    assert start_process(["raylet", "--dashboard_agent_listen_port=8"], "raylet", True, cwd="/") == "raylet"
    assert start_process(["gcs"], "gcs_server", fate_share=True, cwd="/") == "gcs_server"
    assert seen == [
        ["raylet", "--dashboard_agent_listen_port=7"],
        ["raylet", "--dashboard_agent_listen_port=8"],
        ["gcs"],
    ]
