"""Starts our programs by forking from a process that has imported them: a start costs milliseconds, not seconds.

What runs is the shipped function of the program in a process of its own, with its own environment, arguments and
output; only the import is shared. ``tests/e2e`` starts the commands themselves.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_MESSAGE_BYTES_MAX = 1 << 20
_PR_SET_PDEATHSIG = 1
_DEADLINE_S = 120.0


class Started:
    """One process; the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, a signal's number negative; None while it runs."""
        with self._lock:
            if self.returncode is None and self._ended_within(0):
                # Nothing is written where the process that forked it has ended: all its forks end with it.
                self.returncode = int(os.read(self._status, 16) or -signal.SIGKILL)
                os.close(self._status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.poll() is None and not self._ended_within(timeout):
            assert timeout is not None
            raise subprocess.TimeoutExpired([f"process {self.pid}"], timeout)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, timeout_s: float | None) -> bool:
        # Not select(): a process with more than 1,024 descriptors may have a larger one.
        poll = select.poll()
        poll.register(self._status, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else 1000 * timeout_s))


class Program:
    """The process that has imported a program, as ``MODULE:FUNCTION``, and forks it, asked from any thread."""

    def __init__(self, function: str, *, first: str = "", **environment: str) -> None:
        """``first`` is called once, before any fork. The environment is that of all forks, unless they have another."""
        self._lock = threading.Lock()
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-m", "tests.support.warm_starts", str(theirs.fileno()), function, first]
            env = {**os.environ, **environment}
            self._process = subprocess.Popen(
                argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=_ROOT, env=env
            )

    def start(
        self, arguments: Sequence[str], *, stdout: int, stderr: int, environment: Mapping[str, str] | None = None
    ) -> Started:
        """The file descriptors are the new process's output."""
        order = {"arguments": list(arguments), "environment": None if environment is None else dict(environment)}
        ours, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._orders, [json.dumps(order).encode()], [theirs, stdout, stderr])
                pid = int(self._orders.recv(16))
        finally:
            os.close(theirs)
        return Started(pid, ours)

    def close(self) -> None:
        """Ends it, and with it all that it has forked."""
        self._orders.close()
        self._process.wait(_DEADLINE_S)


@functools.cache
def program(function: str) -> Program:
    """The one of this test process, which ends with it."""
    made = Program(function)
    atexit.register(made.close)
    return made


class _Forks:
    """In the process that has imported the program: what it has forked, and where the end of each is written."""

    def __init__(self, orders: socket.socket, main: Any) -> None:
        self._orders = orders
        self._main = main
        self._statuses: dict[int, int] = {}
        self._children, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)

    def run(self) -> None:
        """Until no order can come any more."""
        while True:
            ready, _, _ = select.select([self._orders, self._children], [], [])
            if self._children in ready:
                os.read(self._children, 1 << 16)
                self._write_ends()
            if self._orders in ready:
                message, descriptors, _, _ = socket.recv_fds(self._orders, _MESSAGE_BYTES_MAX, 3)
                if not message:
                    return
                self._fork(json.loads(message), descriptors)

    def _write_ends(self) -> None:
        while self._statuses:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            descriptor = self._statuses.pop(pid)
            with contextlib.suppress(BrokenPipeError):  # nothing reads it any more
                os.write(descriptor, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(descriptor)

    def _fork(self, order: Mapping[str, Any], descriptors: list[int]) -> None:
        status, stdout, stderr = descriptors
        pid = os.fork()
        if pid == 0:
            self._become(order, status, stdout, stderr)
        os.close(stdout)
        os.close(stderr)
        self._statuses[pid] = status
        self._orders.send(str(pid).encode())

    def _become(self, order: Mapping[str, Any], status: int, stdout: int, stderr: int) -> None:
        """The program's process, as if it had been started by its command. Doesn't return."""
        code = 1
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # whatever becomes of the tests, none is left
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            self._orders.close()
            for each in (self._children, self._woken, status, stdout, stderr, *self._statuses.values()):
                os.close(each)
            if order["environment"] is not None:
                os.environ.clear()
                os.environ.update(order["environment"])
            sys.argv = [sys.argv[0], *order["arguments"]]
            self._main()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:  # noqa: BLE001 - the child must never return into the loop of its parent
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _imported(function: str) -> Any:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    descriptor, function, first = sys.argv[1:]
    found = _imported(function)
    if first:
        _imported(first)()
    with socket.socket(fileno=int(descriptor)) as orders:
        _Forks(orders, found).run()


if __name__ == "__main__":
    main()
