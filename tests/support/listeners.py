"""Where processes listen."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path


def outside_loopback(pids: Iterable[int]) -> list[str]:
    """The local addresses, other than loopback, at which these processes listen."""
    inodes: set[str] = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # it has ended
            targets = [_target(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
            inodes |= {each[8:-1] for each in targets if each.startswith("socket:[")}
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    addresses = [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]
    return [each for each in addresses if not each.startswith(("0100007F:", "0000000000000000FFFF00000100007F:"))]


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:  # it was closed
        return ""
