"""``python -m fairlead_ray_node.ray_start [OPTION …]``: `ray start`, whose workers are forked from a template.

Ray takes the program of its workers from `sys.executable` of this process. A small script takes that place. The raylet
gets the port of its agent as well (`agent_port`), there is no server of Ray Client (`client_server`), and the node ends
with its raylet (`raylet_end`); nothing else in Ray is changed. Where a reason speaks against forks, one line states the
reason and Ray starts its workers itself.

``FAIRLEAD_WARM_START=off`` switches it off. ``FAIRLEAD_WARM_START_FOLDER`` is the folder of the sockets: an absolute
path of at most 60 bytes, accessible to this user alone. Without it a new folder is made.
``FAIRLEAD_WARM_START_SECONDS`` is how long a worker waits for a template that is not ready, 15 without it.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from fairlead_ray_node import agent_port, client_server, launcher, raylet_end

SWITCH = "FAIRLEAD_WARM_START"
FOLDER = "FAIRLEAD_WARM_START_FOLDER"
# Ray's flag; then the raylet kills every orphan below it, the template too.
SUBREAPER = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"
# A Unix socket's path is at most 107 bytes; ours adds `/<job>-<pid>.sock`.
FOLDER_BYTES_MAX = 60
_LAUNCHER = pathlib.Path(__file__).resolve().with_name("launcher.py")
_TEMPLATE = _LAUNCHER.with_name("template.py")
# Only a worker asks the launcher (some ms); Ray's other programs are Python as always.
_STAND_IN = """#!/bin/sh
case "$1" in
*/default_worker.py) [ -r {launcher} ] && exec {python} -ISE {launcher} {python} {template} {folder} "$@" ;;
esac
exec {python} "$@"
"""


class NotWarm(Exception):
    """Why workers start the ordinary way."""


def main(arguments: Sequence[str]) -> int:
    """Run `ray start` in this process, with these arguments."""
    switch = os.environ.get(SWITCH, "on")
    if switch not in ("on", "off"):
        print(f"{SWITCH} must be 'on' or 'off', not {switch!r}", file=sys.stderr)
        return 2
    try:
        launcher.template_within_s(os.environ)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if switch == "off":
            raise NotWarm(f"{SWITCH} is 'off'")
        refuse(arguments, os.environ)
        where = folder(os.environ)
        python, sys.executable = sys.executable, str(write_stand_in(where, sys.executable))
        if "--head" in arguments:
            early = [
                python,
                "-P",
                "-m",
                "fairlead_ray_node.early",
                str(os.getpid()),
                python,
                str(_TEMPLATE),
                str(where),
            ]
            subprocess.Popen(early, stdin=subprocess.DEVNULL)
    except Exception as error:  # noqa: BLE001 - Ray starts, whatever it is
        reason = error if isinstance(error, NotWarm) else f"{type(error).__name__}: {error}"
        print(f"workers start the ordinary way: {reason}", file=sys.stderr, flush=True)
    from ray.scripts.scripts import main as ray

    agent_port.give_to_raylet(arguments)
    client_server.leave_out(arguments)
    raylet_end.end_with_raylet()
    sys.argv = ["ray", "start", *arguments]
    return int(ray() or 0)


def refuse(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises NotWarm where a forked worker could be worse than an ordinary one."""
    if environment.get(SUBREAPER, "").lower() in ("1", "true"):
        raise NotWarm(f"{SUBREAPER} is set, with which Ray would end the template process")
    if any(each.startswith("--enable-resource-isolation") for each in arguments):
        raise NotWarm(
            "--enable-resource-isolation is set, and the memory of a forked worker would be counted for another group"
        )
    if found := accelerators(arguments):
        raise NotWarm(f"the node has {found}, and a process that uses a device can't be forked")


def accelerators(arguments: Sequence[str]) -> str:
    """The accelerators of this node, detected by Ray or given as options; empty when there are none."""
    from ray._private.accelerators import get_all_accelerator_managers

    for number, each in enumerate(arguments):
        name, _, value = each.partition("=")
        if name == "--num-gpus":
            given = value or next(iter(arguments[number + 1 :]), "")
            if given not in ("", "0"):
                return f"{given} GPUs"
    for manager in get_all_accelerator_managers():
        count = manager.get_current_node_num_accelerators()
        if count:
            return f"{count} {manager.get_resource_name()}"
    return ""


def folder(environment: Mapping[str, str]) -> pathlib.Path:
    """A folder that is this user's alone: who can write into it can run code as the user. Raises NotWarm."""
    given = environment.get(FOLDER)
    try:
        path = pathlib.Path(given or tempfile.mkdtemp(prefix=f"fairlead-warm-{os.getuid()}-"))
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise NotWarm(f"{FOLDER}: {error}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NotWarm(f"{FOLDER}: {path} is not a folder of this user alone (mode 0700)")
    if not path.is_absolute() or len(os.fsencode(path)) > FOLDER_BYTES_MAX:
        raise NotWarm(f"{FOLDER}: {path} is not an absolute path of at most {FOLDER_BYTES_MAX} bytes")
    return path


def write_stand_in(where: pathlib.Path, python: str) -> pathlib.Path:
    """The program that Ray takes for Python, tried out; raises NotWarm where it can't run."""
    path = where / "python"
    names = {"python": python, "folder": where, "launcher": _LAUNCHER, "template": _TEMPLATE}
    new = path.with_suffix(".new")
    try:
        new.write_text(_STAND_IN.format_map({name: shlex.quote(str(value)) for name, value in names.items()}))
        new.chmod(0o700)
        new.rename(path)
        # A folder may be mounted without the right to run what is in it.
        subprocess.run([path, "-c", ""], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotWarm(f"{path} can't be run: {error}") from None
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
