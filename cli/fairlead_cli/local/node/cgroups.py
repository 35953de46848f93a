"""A control group of the node's own in each hierarchy: by it every process of the pods is found and ended."""

from __future__ import annotations

import errno
import pathlib
import time
from collections.abc import Iterator

from fairlead_cli.local import errors, process_table

_KILLED_WITHIN_S = 20.0


def hierarchies(mountinfo: str) -> tuple[pathlib.Path, ...]:
    """Where the control groups of this machine are mounted, version 1 and 2. Source: proc(5), `/proc/PID/mountinfo`."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.split(" ", 1)[0] in ("cgroup", "cgroup2"):
            found.append(pathlib.Path(before.split(" ")[4]))
    return tuple(dict.fromkeys(found))


def _mounted() -> tuple[pathlib.Path, ...]:
    return hierarchies(pathlib.Path("/proc/self/mountinfo").read_text())


def create(name: str) -> None:
    """Make the group `/NAME` in each hierarchy; the group that it is in exists."""
    for root in _mounted():
        group = root / name
        group.mkdir(exist_ok=True)
        # A new group of this one has no processor and no memory until it is given some, and no process may join it.
        for file in ("cpuset.cpus", "cpuset.mems"):
            own, parents = group / file, group.parent / file
            if own.exists() and parents.exists() and not own.read_text().strip():
                own.write_text(parents.read_text())


def processes(name: str) -> frozenset[process_table.Identity]:
    """All living processes in the group `/NAME` and below it."""
    found = set()
    for group in groups(name):
        try:
            pids = (group / "cgroup.procs").read_text().split()
        except OSError:
            continue
        entries = (process_table.entry(int(pid)) for pid in pids if pid != "0")
        found |= {each.identity for each in entries if each is not None and not each.is_zombie}
    return frozenset(found)


def remove(name: str) -> None:
    """Kill all in the group `/NAME` and below it, and remove it.

    Raises:
        LocalClusterError: a process can't be killed, or a group not be removed.
    """
    left = process_table.end(lambda: processes(name), grace_s=0, deadline_s=_KILLED_WITHIN_S)
    if left:
        raise errors.LocalClusterError(f"processes {sorted(each.pid for each in left)} can't be ended")
    deadline = time.monotonic() + _KILLED_WITHIN_S
    while busy := [group for group in groups(name) if not _remove_one(group)]:
        # A group stays busy for a moment after its last process has ended.
        if time.monotonic() > deadline:
            raise errors.LocalClusterError(f"the control groups {', '.join(map(str, busy))} can't be removed")
        time.sleep(0.05)


def groups(name: str) -> Iterator[pathlib.Path]:
    """The group `/NAME` and those below it in every hierarchy, the deepest first."""
    for root in _mounted():
        if (root / name).is_dir():
            below = [path for path in (root / name).rglob("*") if path.is_dir()]
            yield from sorted([root / name, *below], key=lambda path: -len(path.parts))


def _remove_one(group: pathlib.Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
