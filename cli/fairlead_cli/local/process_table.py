"""The processes of this machine as the kernel lists them: identity, parent, and how to end them.

A process is known by its number *and* its start time: numbers are used again, the pair is not (within one boot).
Source: proc(5), `/proc/PID/stat`.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import time
from collections.abc import Callable, Collection, Iterable

_PROC = pathlib.Path("/proc")
_PPID, _SESSION, _THREADS, _STARTTIME = 1, 3, 17, 19  # positions behind the command's closing parenthesis


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Identity:
    """A process that can't be mistaken for another; `start_ticks` are clock ticks since boot."""

    pid: int
    start_ticks: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    identity: Identity
    parent_pid: int
    session_id: int
    # Dead, and only its parent's to reap. One whose first thread alone is dead still holds its ports and files: the
    # threads of a killed process end one by one, and the first need not be the last.
    is_zombie: bool


def boot_id() -> str:
    """Which boot of the machine start times count from."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def parse_stat(line: str) -> Entry:
    """Read a `/proc/PID/stat` line; the command in parentheses may hold spaces and parentheses."""
    pid, rest = line.split(" ", 1)
    fields = rest[rest.rindex(")") + 2 :].split()
    return Entry(
        identity=Identity(pid=int(pid), start_ticks=int(fields[_STARTTIME])),
        parent_pid=int(fields[_PPID]),
        session_id=int(fields[_SESSION]),
        is_zombie=fields[0] in ("Z", "X") and int(fields[_THREADS]) <= 1,
    )


def entry(pid: int) -> Entry | None:
    """The process with this number, or None when there is none."""
    try:
        return parse_stat((_PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process still runs."""
    found = entry(identity.pid)
    return found is not None and found.identity == identity and not found.is_zombie


def entries() -> tuple[Entry, ...]:
    """All processes that can be seen now."""
    found = (entry(int(path.name)) for path in _PROC.iterdir() if path.name.isdigit())
    return tuple(each for each in found if each is not None)


def has_mark(pid: int, mark: bytes) -> bool:
    """Whether the environment the process was started with holds `mark`; False when it is not ours to read."""
    try:
        return mark in (_PROC / str(pid) / "environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def family(roots: Collection[Identity], *, mark: bytes | None = None) -> frozenset[Identity]:
    """The living `roots`, all that descends from them, their sessions' members, and all that carries `mark`.

    Descent alone misses what outlived its parent; the session and the mark (a random value in the environment of all
    that we start) find those. A session counts only while its leader, known by its start time, is one of `roots`,
    or while no process has the leader's number: the kernel gives no number away while a session still uses it.
    """
    table = {each.identity.pid: each for each in entries() if not each.is_zombie}
    own = os.getpid()
    sessions = {root.pid for root in roots if root.pid not in table or table[root.pid].identity == root}
    members = {root.pid for root in roots if root.pid in table and table[root.pid].identity == root}
    for pid, each in table.items():
        if each.session_id in sessions or (mark is not None and has_mark(pid, mark)):
            members.add(pid)
    grown = True
    while grown:
        children = {pid for pid, each in table.items() if each.parent_pid in members} - members
        members |= children
        grown = bool(children)
    members.discard(own)
    return frozenset(table[pid].identity for pid in members)


def send(identities: Iterable[Identity], signal_number: int) -> None:
    """Signal each process if it is still the one that was meant."""
    for each in identities:
        # pidfd: between the check and the signal the number can't pass to another process.
        try:
            descriptor = os.pidfd_open(each.pid)
        except ProcessLookupError:
            continue
        try:
            if is_alive(each):
                signal.pidfd_send_signal(descriptor, signal_number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def end(find: Callable[[], frozenset[Identity]], *, grace_s: float, deadline_s: float = 20) -> frozenset[Identity]:
    """Ask all that `find` gives to end, kill what is left after `grace_s`, and give what even then lives (nothing).

    `find` is asked again each time: what is being ended may still start children.
    """
    asked: frozenset[Identity] = frozenset()
    started = time.monotonic()
    while True:
        living = find()
        waited_s = time.monotonic() - started
        if not living or waited_s > deadline_s:
            return living
        if waited_s >= grace_s:
            send(living, signal.SIGKILL)
        elif living - asked:
            send(living - asked, signal.SIGTERM)
            asked |= living
        time.sleep(0.05)
