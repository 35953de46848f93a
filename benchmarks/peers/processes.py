"""What the processes of a server use, read from /proc. They are found by a mark in their environment.

A mark is inherited by whatever a server starts, also by what leaves its process group or becomes a child of init, as
HAProxy and Ray's daemons do.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

MARK = "FAIRLEAD_BENCH_SERVER"
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def find(mark: str, proc: Path = Path("/proc")) -> list[int]:
    """The living processes that carry the mark, except this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # It has ended, or is another user's.
            if wanted in variables:
                found.append(int(entry.name))
    return found


def processor_s(pids: list[int], proc: Path = Path("/proc")) -> float:
    """Seconds of processor that these used since they began, with those of children that ended and were awaited."""
    return sum(_ticks(proc / str(pid) / "stat") for pid in pids) / _TICKS_A_SECOND


def _ticks(stat: Path) -> int:
    try:
        text = stat.read_text()
    except OSError:
        return 0
    # The name may have spaces and brackets. Source: proc(5), utime is the 14th field.
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def pss_mb(pids: list[int], proc: Path = Path("/proc")) -> float:
    """Proportional share of memory in MB (2^20 bytes): a page that n processes share counts 1/n for each."""
    return sum(_pss_kb(proc / str(pid) / "smaps_rollup") for pid in pids) / 1024


def _pss_kb(rollup: Path) -> int:
    try:
        lines = rollup.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def end(mark: str, *, grace_s: float = 20.0) -> None:
    """Ends all that carry the mark: SIGTERM, and SIGKILL to what is left after ``grace_s``."""
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)):
        for pid in find(mark):
            _send(pid, number)
        deadline = time.monotonic() + wait_s
        while find(mark) and time.monotonic() < deadline:
            time.sleep(0.1)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
