"""A node whose raylet has ended is over, also where the raylet exits with 0 because its agent has ended."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from ray.scripts import scripts

from fairlead_ray_node import raylet_end


def ended(code: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    process.wait()
    return process


@pytest.mark.parametrize("code", [0, 1, 15])
def test_a_raylet_never_ends_with_0_and_other_codes_stay(code: int) -> None:
    found = raylet_end.reported(lambda node: [("raylet", ended(code))])(None)
    assert [(kind, process.returncode) for kind, process in found] == [("raylet", code or 1)]


def test_another_process_may_end_with_0() -> None:
    process = ended(0)
    assert raylet_end.reported(lambda node: [("log_monitor", process)])(None) == [("log_monitor", process)]


def test_ray_asks_for_dead_processes_and_ends_the_node() -> None:
    """What `raylet_end` relies on in Ray's own code."""
    names = inspect.unwrap(scripts.start.callback).__code__.co_names
    assert {"dead_processes", "kill_all_processes", "_exit"} <= {*names}
