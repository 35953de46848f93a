"""The program `ray` of the image: Ray's own, but its autoscaler is started again, as nothing else would."""

from __future__ import annotations

import pathlib
import signal
import subprocess

import pytest
from tests.support.until import until

SCRIPT = pathlib.Path(__file__).parents[3] / "images/ray-node/ray"


@pytest.fixture
def ray(tmp_path: pathlib.Path) -> pathlib.Path:
    """The script, with a program in place of Ray's that notes its arguments, and ends with code 3 at once."""
    program, script = tmp_path / "program", tmp_path / "ray"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\ntest -e {tmp_path}/runs && exec sleep 60\nexit 3\n')
    text = SCRIPT.read_text().replace("/opt/fairlead/bin/ray", str(program)).replace("sleep 5", "sleep 0.01")
    script.write_text(text)
    for each in (program, script):
        each.chmod(0o755)
    return script


def calls(ray: pathlib.Path) -> list[str]:
    noted = ray.parent / "calls"
    return noted.read_text().splitlines() if noted.exists() else []


def test_another_command_is_ray_s_own(ray: pathlib.Path) -> None:
    assert subprocess.run([str(ray), "health-check", "--address", "a"], check=False).returncode == 3
    assert calls(ray) == ["health-check --address a"]


def test_an_autoscaler_that_ends_is_started_again_until_it_is_stopped(ray: pathlib.Path) -> None:
    command = [str(ray), "kuberay-autoscaler", "--cluster-name", "small"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        until(lambda: len(calls(ray)) >= 3, "three starts")
        (ray.parent / "runs").touch()
        begun = len(calls(ray))
        until(lambda: len(calls(ray)) > begun, "one that goes on")
        running.send_signal(signal.SIGTERM)
        assert running.wait(100) == 0
        assert running.stderr is not None
        assert "the autoscaler ended with code 3, and is started again" in running.stderr.read()
    assert set(calls(ray)) == {"kuberay-autoscaler --cluster-name small"}
