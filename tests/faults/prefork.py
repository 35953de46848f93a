"""Starts operators by forking from a process that has imported everything: a restart costs milliseconds, not seconds.

What runs is the shipped ``main`` in a process of its own; only the import and the CRD's own schema are shared.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import warm_starts

DEATH_DEADLINE_S = 30.0


class Nursery:
    """Forks operators on request, from any thread; all of them end with it."""

    def __init__(self, authority: Path) -> None:
        """``authority`` is the one certificate that they trust.

        A kubeconfig's own is not used before a proxy without TLS, and to load all those of the machine is a quarter of
        what the operator of a run takes of the processor.
        """
        self._program = warm_starts.Program(
            "fairlead_operator.cli:main",
            first="fairlead_operator.api.skew:own_schema",
            SSL_CERT_FILE=str(authority.resolve()),
            SSL_CERT_DIR=str(authority.parent / "none"),
        )
        self._started: dict[int, warm_starts.Started] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in tuple(self._started):
            self.kill(pid)
        self._program.close()

    def start(self, flags: Sequence[str], log: Path) -> int:
        """The new operator's pid."""
        with log.open("ab") as file:
            started = self._program.start(flags, stdout=file.fileno(), stderr=file.fileno())
        self._started[started.pid] = started
        return started.pid

    def kill(self, pid: int) -> None:
        """SIGKILL, and back only when it is gone."""
        started = self._started.pop(pid)
        started.kill()
        started.wait(DEATH_DEADLINE_S)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
