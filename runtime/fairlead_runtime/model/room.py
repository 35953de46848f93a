"""How much memory a process may take that a replica starts for work of its own.

It counts in the control groups of the replica that starts it. Where a group's memory ends, Linux ends all of its
processes if `memory.oom.group` is set, as Kubernetes sets it for containers: the Ray node with all its replicas. So the
process takes no more than what the groups and the machine have left. Source: Linux, admin-guide/cgroup-v2.rst
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MIB = 1024 * 1024
RESERVE_BYTES = 256 * MIB
"""Left to the replicas that serve meanwhile."""


class NoRoomError(Exception):
    """There is too little memory; the text says how much.

    `is_promised`: there would be enough without what processes beside this one may still come to take.
    """

    def __init__(self, why: str, *, is_promised: bool) -> None:
        super().__init__(why)
        self.is_promised = is_promised


@dataclass(frozen=True, slots=True)
class _Version:
    """Where a version of control groups keeps the limit, what is used, and the unused copies of files in that."""

    mount: str
    limit: str
    used: str
    unused_files: str


_FIRST = _Version("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_SECOND = _Version("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Processes that run one of these modules with arguments that name the folder.

    Each may still come to take as much memory as its own limit allows.
    """

    modules: Sequence[str]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a process is for, with its article, and the bytes that it may have; `at_once` run beside each other.

    With `leaves_bytes` it leaves half of what there is to others, unless that is less than these: then it takes all.
    """

    what: str
    least_bytes: int
    most_bytes: int
    at_once: int = 1
    leaves_bytes: int = 0
    beside: Others | None = None


def find(need: Need, root: Path = Path("/")) -> int:
    """The bytes that the process may take; raises NoRoomError."""
    enough = need.most_bytes * need.at_once + RESERVE_BYTES
    promised = 0 if need.beside is None else count_promised(need.beside, root)
    left = min([*_left_on_machine(root), *_left_in_groups(root)], default=enough + promised) - promised
    # Each has its part of what is left when it starts, so that all together have no more than that.
    part = (left - RESERVE_BYTES) // need.at_once
    if need.leaves_bytes and part // 2 >= need.leaves_bytes:
        part //= 2
    if part < need.least_bytes:
        needed = need.least_bytes * need.at_once + RESERVE_BYTES
        text = f"{need.what} needs {needed // MIB} MiB of free memory, and {max(0, left) // MIB} MiB are free"
        raise NoRoomError(text, is_promised=left + promised >= needed)
    return min(need.most_bytes, part)


def count_promised(others: Others, root: Path = Path("/")) -> int:
    """How many more bytes the limits of these processes allow; one without a limit counts nothing."""
    return sum(_promised(root, others))


def _promised(root: Path, others: Others) -> Iterator[int]:
    """How much more memory the limit of each of them allows."""
    for folder in (root / "proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, StopIteration):
            arguments = (folder / "cmdline").read_text(errors="replace").split("\0")
            is_named = any(f"{others.folder}/" in argument for argument in arguments)
            if is_named and not set(others.modules).isdisjoint(arguments):
                limits = (folder / "limits").read_text().splitlines()
                limit = next(line for line in limits if line.startswith("Max data size")).split()[3]
                status = (folder / "status").read_text().splitlines()
                used = next(line for line in status if line.startswith("RssAnon:")).split()[1]
                yield max(0, int(limit) - int(used) * 1024)


def _left_on_machine(root: Path) -> Iterator[int]:
    with suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024


def _left_in_groups(root: Path) -> Iterator[int]:
    """Of the process's own groups and of those around them; a container sees its own one at the mount itself."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, name in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        version = _FIRST if controllers else _SECOND
        path = PurePosixPath(name.lstrip("/"))
        for group in (path, *path.parents):
            with suppress(OSError, ValueError):
                yield _left(root / version.mount / group, version)


def _left(folder: Path, version: _Version) -> int:
    """Raises ValueError for a group without a limit (`max`)."""
    limit, used = (int((folder / name).read_text()) for name in (version.limit, version.used))
    statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return limit - used + int(statistics.get(version.unused_files, 0))
