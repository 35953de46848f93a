"""Starts operators by forking from a process that has imported everything: a restart costs milliseconds, not seconds.

What runs is the shipped ``main`` in a process of its own; only the import and the CRD's own schema are shared.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

DEATH_DEADLINE_S = 30.0
PR_SET_PDEATHSIG = 1


class Nursery:
    """Forks operators on request, from any thread; all of them end with it."""

    def __init__(self, authority: Path) -> None:
        """``authority`` is the one certificate that they trust.

        A kubeconfig's own is not used before a proxy without TLS, and to load all those of the machine is a quarter of
        what the operator of a run takes of the processor.
        """
        self._lock = threading.Lock()
        trust = {"SSL_CERT_FILE": str(authority.resolve()), "SSL_CERT_DIR": str(authority.parent / "none")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.prefork"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **trust},
        )
        self._living: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in tuple(self._living):
            self.kill(pid)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(DEATH_DEADLINE_S)

    def start(self, flags: Sequence[str], log: Path) -> int:
        """The new operator's pid."""
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(json.dumps({"flags": list(flags), "log": str(log)}), file=self._process.stdin, flush=True)
            pid = int(self._process.stdout.readline())
            self._living.add(pid)
        return pid

    def kill(self, pid: int) -> None:
        """SIGKILL, and back only when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        end_s = time.monotonic() + DEATH_DEADLINE_S
        while is_alive(pid):
            if time.monotonic() > end_s:
                raise AssertionError(f"{pid} does not die")
            time.sleep(0.002)
        self._living.discard(pid)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _serve() -> None:
    """The warm process: one line asks for one operator."""
    from fairlead_operator import cli
    from fairlead_operator.api import skew

    skew.own_schema()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are reaped by the kernel
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(cli.main, order["flags"], order["log"])
        print(pid, flush=True)


def _become(main: object, flags: list[str], log: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # whatever becomes of the bench, none is left
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["fairlead-operator", *flags]
    code = 1
    try:
        main()  # type: ignore[operator]
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - the child must never return into the server's loop
        traceback.print_exc()
    os._exit(code)


if __name__ == "__main__":
    _serve()
