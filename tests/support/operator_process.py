"""The operator as a process of its own, under its own service account: its command, or a fork that starts sooner."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tests.support import warm_starts
from tests.support.free_ports import free_port
from tests.support.until import until

START_DEADLINE_S = 120
EXIT_DEADLINE_S = 30
IMAGE_ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}
"""What images/operator/Containerfile sets that changes the operator's memory."""


class OperatorProcess:
    """Started, killed and started again with the same flags."""

    def __init__(self, flags: Sequence[str], *, log: Path, is_forked: bool = False) -> None:
        self.port = free_port()
        self.log = log
        self._flags = [*flags, "--listen", f"127.0.0.1:{self.port}"]
        self._is_forked = is_forked
        self._process: subprocess.Popen[bytes] | warm_starts.Started | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, ready: bool = True) -> None:
        with self.log.open("ab") as log:
            self._process = self._started(log)
        if ready:
            until(lambda: self.get("/readyz") == (200, "leader"), "the operator leads", deadline_s=START_DEADLINE_S)

    def _started(self, log: IO[bytes]) -> subprocess.Popen[bytes] | warm_starts.Started:
        if self._is_forked:
            program = warm_starts.program("fairlead_operator.cli:main")
            return program.start(self._flags, stdout=log.fileno(), stderr=log.fileno(), environment=os.environ)
        command = [sys.executable, "-m", "fairlead_operator.cli", *self._flags]
        return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **IMAGE_ENVIRONMENT})

    @contextlib.contextmanager
    def kept_running(self) -> Iterator[None]:
        """Start it again whenever it gives up, as a kubelet would."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                assert self._process is not None
                if self._process.poll() is not None:
                    self.start(ready=False)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def require_running(self) -> None:
        """Raises an AssertionError with the end of its log where the process has ended."""
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the operator ended with code {code}:\n{self.tail()}"

    def get(self, path: str) -> tuple[int, str]:
        """Code and text of one of the operator's own pages; 0 while it doesn't answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def metric(self, name: str) -> float:
        """The sum over a metric's series."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def rss_mib(self) -> float:
        return (
            int((Path("/proc") / str(self.pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        )

    def cpu_s(self) -> float:
        """Processor time used so far."""
        fields = (Path("/proc") / str(self.pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(EXIT_DEADLINE_S)

    def kill(self) -> None:
        """SIGKILL: no step is finished, no Lease given back."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        if self._process is None or self._process.poll() is not None:
            return -1
        self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
