"""The HAProxy process: started, adopted from an agent that died, watched, reloaded, stopped.

HAProxy outlives the agent, so that killing the agent cuts nothing: the next agent finds it by the recorded process id
and start time. The agent in turn holds the listening socket, so that connections wait in its queue while a dead HAProxy
is restarted.
"""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fairlead_gateway import files, settings
from fairlead_gateway.haproxy import config
from fairlead_gateway.haproxy.control import HAProxyError

_log = logging.getLogger(__name__)

RECORD_FILE = "haproxy.json"
OUTPUT_FILE = "haproxy.log"
_OUTPUT_BYTES = 1 << 20
_BACKLOG = 1024
_PIDFD_GETFD = 438
"""The system call's number, the same on every architecture. Source: pidfd_getfd(2)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The master process as it was recorded: an id alone may have been given to another process."""

    pid: int
    start_time: int


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none.

    Source: proc_pid_stat(5), field 22.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else int(fields[19])


class Process:
    """The master process of one gateway's HAProxy. `died` is set when it has ended for any reason."""

    def __init__(self, settings_: settings.Settings, *, log_fd: int) -> None:
        self.died = asyncio.Event()
        self.died.set()
        self._settings = settings_
        self._state_dir = settings_.state_dir
        self._log_fd = log_fd
        self._listener: socket.socket | None = None
        self._pidfd: int | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None

    def adopt_recorded(self) -> bool:
        """Take over the HAProxy that an earlier agent left running; False when there is none."""
        recorded = self._read_record()
        if recorded is None or start_time(recorded.pid) != recorded.start_time:
            return False
        return self.adopt(recorded.pid, started=recorded.start_time)

    def adopt(self, pid: int, *, started: int | None = None) -> bool:
        """Take over this HAProxy; False when it is gone."""
        started = started if started is not None else start_time(pid)
        self._watch(pid)
        # Between the look and the watch the process may have ended and its id been given away.
        if started is None or self._pidfd is None or start_time(pid) != started:
            self._forget()
            return False
        self._listener = _copy_listener(self._pidfd, pid)
        self._write_record(pid)
        _log.info("haproxy adopted pid=%d", pid)
        return True

    def start(self) -> None:
        """Start HAProxy on the files in the state directory.

        Raises:
            HAProxyError: when the port is taken or the program can't be run.
        """
        listener = self._ensure_listener()
        output = self._open_output()
        try:
            child = subprocess.Popen(
                [
                    str(self._settings.haproxy),
                    "-W",
                    "-S",
                    f"unix@{config.MASTER_SOCKET},mode,600",
                    "-f",
                    config.CONFIG_FILE,
                ],
                cwd=self._state_dir,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A terminal's Ctrl-C is for the agent, which then stops HAProxy gracefully.
                start_new_session=True,
                pass_fds=(self._log_fd, listener.fileno()),
                env=self._environment(listener),
            )
        except OSError as error:
            raise HAProxyError(f"{self._settings.haproxy}: {error}") from error
        finally:
            os.close(output)
        self._child = child
        self._write_record(child.pid)
        self._watch(child.pid)

    async def check(self, file: str) -> None:
        """Let HAProxy judge a configuration.

        Raises:
            HAProxyError: with its words when it refuses it.
        """
        with socket.socket() as stand_in:
            listener = self._listener or stand_in
            process = await asyncio.create_subprocess_exec(
                str(self._settings.haproxy), "-c", "-q", "-f", file,
                cwd=self._state_dir,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(self._log_fd, listener.fileno()),
                env=self._environment(listener),
            )  # fmt: skip
            output, _ = await process.communicate()
        if process.returncode != 0:
            raise HAProxyError(f"HAProxy refused the configuration: {output.decode(errors='replace')[:2000]}")

    async def stop(self, *, grace_s: float) -> None:
        """End HAProxy: requests in flight are finished within the grace, then it is ended hard.

        Nobody accepts connections from then on, so new ones are refused at once instead of waiting in the queue.
        """
        if self._listener is not None:
            # For HAProxy's copies, too: closing this one would leave the queue open.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
        if self.pid is not None and not self.died.is_set():
            for number, wait_s in ((signal.SIGUSR1, grace_s), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self.died.wait()
                    break
        (self._state_dir / RECORD_FILE).unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Let go of HAProxy without ending it."""
        self._forget()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def output_tail(self) -> str:
        """HAProxy's last words."""
        try:
            return (self._state_dir / OUTPUT_FILE).read_text(errors="replace")[-2000:]
        except OSError:
            return ""

    def _read_record(self) -> Recorded | None:
        try:
            record = json.loads((self._state_dir / RECORD_FILE).read_text())
            return Recorded(pid=int(record["pid"]), start_time=int(record["startTime"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _watch(self, pid: int) -> None:
        self._forget()
        self.pid = pid
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        self.died.clear()
        asyncio.get_running_loop().add_reader(self._pidfd, self._notice_death)

    def _notice_death(self) -> None:
        self._forget()

    def _forget(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        self.pid = None
        self.died.set()

    def _ensure_listener(self) -> socket.socket:
        if self._listener is None:
            address = self._settings.listen
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address.host, address.port))
                listener.listen(_BACKLOG)
            except OSError as error:
                listener.close()
                raise HAProxyError(f"can't listen on {address.host}:{address.port}: {error}") from error
            self._listener = listener
        return self._listener

    def _write_record(self, pid: int) -> None:
        files.write(self._state_dir / RECORD_FILE, json.dumps({"pid": pid, "startTime": start_time(pid)}))

    def _environment(self, listener: socket.socket) -> dict[str, str]:
        """The configuration names descriptors by variables: their numbers differ from one agent to the next."""
        numbers = {config.LOG_FD_VARIABLE: str(self._log_fd), config.LISTEN_FD_VARIABLE: str(listener.fileno())}
        return {**os.environ, **numbers}

    def _open_output(self) -> int:
        path = self._state_dir / OUTPUT_FILE
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        if path.exists() and path.stat().st_size > _OUTPUT_BYTES:
            flags |= os.O_TRUNC
        return os.open(path, flags, 0o600)


def _copy_listener(pidfd: int, pid: int) -> socket.socket | None:
    """The listening socket that an adopted master holds; None where the system does not let us have it.

    Without it the gateway works too; only connections made while HAProxy restarts are refused. That of a HAProxy which
    an agent was ending is shut, and another one has to take its place.
    """
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{config.LISTEN_FD_VARIABLE}=".encode()
    number = next((int(entry[len(prefix) :]) for entry in variables if entry.startswith(prefix)), None)
    if number is None:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        return None
    listener = socket.socket(fileno=descriptor)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        return None
    return listener
