"""Starts the template together with Ray, before the first worker asks for it: a process of its own beside `ray start`.

That worker's job and environment are not known yet. Serve's controller is in the first job of a fresh cluster, and the
raylet gives its workers its own environment and three variables. Where that is wrong, the template ends when the first
launcher finds it out, and one with the right environment starts.

Arguments: PID PYTHON TEMPLATE FOLDER, where PID is of `ray start`.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import sys
import time
from collections.abc import Mapping, Sequence

from fairlead_ray_node import launcher

FIRST_JOB = "01000000"
_PROC = pathlib.Path("/proc")


def main() -> None:
    """Wait for the raylet, start the template, end."""
    parent, python, template, folder = sys.argv[1:]
    raylet = find_raylet(int(parent))
    if raylet is None:
        return
    argv = worker_command(_strings(raylet, "cmdline"))
    environment = worker_environment(_strings(raylet, "environ"), raylet)
    os.environ.clear()
    os.environ.update(environment)
    try:
        start = launcher.Start(python, template, folder, argv)
        launcher.start_template(start, launcher.template_name(environment))
    except launcher.NotForked as reason:
        launcher.log(argv, f"no template was started: {reason}")


def find_raylet(parent: int) -> int | None:
    """The raylet among the children of `parent`, however long that takes to start it; None when `parent` has ended."""
    while os.getppid() == parent:
        for task in (_PROC / f"{parent}/task").iterdir():
            for child in _read(task / "children").split():
                # The kernel sets the name of a new program before it sets its arguments.
                if _read(_PROC / child / "comm").strip() == "raylet" and _read(_PROC / child / "cmdline"):
                    return int(child)
        time.sleep(0.1)
    return None


def worker_environment(raylet: Sequence[str], pid: int) -> Mapping[str, str]:
    """What a raylet of this environment and number gives to a worker of the first job. Compared with Ray 2.60."""
    given = dict(each.split("=", 1) for each in raylet if "=" in each)
    given.pop("LD_PRELOAD", None)  # Ray's allocator, for the raylet alone
    # SPT_NOENV: a process's title isn't written over its environment.
    return {**given, "SPT_NOENV": "1", "RAY_JOB_ID": FIRST_JOB, "RAY_RAYLET_PID": str(pid)}


def worker_command(raylet: Sequence[str]) -> list[str]:
    """A worker's arguments, Ray's script first, as they are in an option of the raylet."""
    option = next(each for each in raylet if each.startswith("--python_worker_command="))
    command = shlex.split(option.partition("=")[2])
    first = next(number for number, each in enumerate(command) if each.endswith("/default_worker.py"))
    return command[first:]


def _read(path: pathlib.Path) -> str:
    """Empty for a process that has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _strings(pid: int, name: str) -> list[str]:
    return [os.fsdecode(each) for each in (_PROC / f"{pid}/{name}").read_bytes().split(b"\0")[:-1]]


if __name__ == "__main__":
    main()
