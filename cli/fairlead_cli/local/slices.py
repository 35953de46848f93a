"""Gives each cluster on this machine ports of its own for its replicas.

A replica binds the first free port of its revision's range, and the gateway looks at a few ports from the range's start
only: two clusters that counted from the same number would push each other's replicas out of sight.
"""

from __future__ import annotations

import pathlib

from fairlead_cli.local import errors, locks, progress, state

_FIRST, _SLICES, _PORTS_EACH = 20000, 12, 1064  # 20000-32767: below the kernel's range, above the parts' ports
_CLAIM = "replica-ports"


def claim(run: pathlib.Path, root: pathlib.Path) -> tuple[int, int]:
    """The first and last port of a slice that no other living cluster of this user holds.

    Raises:
        LocalClusterError: all slices are taken.
    """
    lock = run.parent / f"{state.RUN_PREFIX}ports.lock"
    with locks.held(lock, what="another cluster picks its ports", reporter=progress.Silent()):
        taken = set()
        for path in run.parent.glob(f"{state.RUN_PREFIX}*/{_CLAIM}"):
            number, owner = path.read_text().split("\n", 1)
            if pathlib.Path(owner, "state.json").exists():
                taken.add(int(number))
        free = [number for number in range(_SLICES) if number not in taken]
        if not free:
            raise errors.LocalClusterError(
                f"{_SLICES} local clusters run already; `fairlead local down --all` ends them"
            )
        (run / _CLAIM).write_text(f"{free[0]}\n{root}")
    first = _FIRST + free[0] * _PORTS_EACH
    return first, first + _PORTS_EACH - 1
