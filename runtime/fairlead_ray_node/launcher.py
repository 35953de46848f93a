"""What the raylet starts as a worker: asks the template for a fork, and becomes the ordinary worker if it gets none.

It is run by its path with ``python -ISE`` and imports only the standard library, because each worker waits for it.
Arguments: PYTHON TEMPLATE FOLDER SCRIPT [OPTION …], where SCRIPT is Ray's `default_worker.py`.

The protocol between launcher and template, over a stream socket:

1. launcher: the length of the request (4 bytes, big-endian) with four descriptors (0, 1, 2 and the reading end of the
   *go* pipe), then the request, JSON: ``{"argv", "cwd", "environment"}``;
2. template: ``pid N`` once it forked, or ``no REASON``, a line each;
3. launcher: one byte into the *go* pipe. The child starts only after it, and ends when the pipe closes without it. So
   a worker is never started twice, whichever of the three processes dies in between;
4. template: ``exit CODE`` when the child has ended. If the launcher ends first, the template kills the child.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # as `typing` has it; importing that takes longer than all else here
    from collections.abc import Mapping

# A fork takes up to 0.2 s on a busy machine; Ray waits a minute for a worker.
ANSWER_WITHIN_S = 5.0
# How long a worker waits for a template that imports: that takes 2 s on an idle machine.
TEMPLATE_WITHIN = "FAIRLEAD_WARM_START_SECONDS"
TEMPLATE_WITHIN_S = 15
TEMPLATE_WITHIN_S_MAX = 600
# Each takes some 190 MiB. One serves all workers of a job, and all of Serve is one job; others may use the cluster too.
TEMPLATES_MAX = 2
# Of one job. A template that keeps dying costs more than it saves.
STARTS_MAX = 5
SIGNAL_BASE = 128


class NotForked(Exception):
    """Why this worker starts the ordinary way."""


class Start:
    """The real Python, the template's program, the folder of sockets; the worker's arguments, Ray's script first."""

    def __init__(self, python: str, template: str, folder: str, argv: list[str]) -> None:
        self.python, self.template, self.folder, self.argv = python, template, folder, argv


def main() -> None:
    """Never returns: ends with the forked worker's exit code, or becomes the ordinary worker."""
    python, template, folder, *argv = sys.argv[1:]
    try:
        run_forked(Start(python, template, folder, argv))
    except NotForked as reason:
        log(argv, f"worker {option(argv, '--worker-id')} starts the ordinary way: {reason}")
    except Exception as error:  # noqa: BLE001 - whatever it is, Ray gets its worker
        log(argv, f"worker {option(argv, '--worker-id')} starts the ordinary way: {type(error).__name__}: {error}")
    os.execv(python, [python, *argv])  # noqa: S606


def run_forked(start: Start) -> None:
    """Run the worker as a fork of the template and exit with it; raises before anything of the worker has run."""
    argv = start.argv
    if os.path.exists(os.path.join(start.folder, "off")):
        raise NotForked("the file `off` is in the template's folder")
    if option(argv, "--worker-type") not in ("", "WORKER"):
        raise NotForked("it moves objects to disk and back")
    if option(argv, "--runtime-env-hash") not in ("", "0"):
        raise NotForked("it has a runtime_env")
    link = connect(start, template_name(os.environ))
    waiting, go = os.pipe()
    try:
        pid = ask(link, waiting, argv)
        worker = os.pidfd_open(pid)
        copy_priority(pid)
        os.write(go, b"g")
    except BaseException:
        # The child, if there is one, ends: its pipe closes without the byte.
        os.close(go)
        link.close()
        raise
    # The worker runs: whatever happens now, there must not be a second one.
    code = 1
    try:
        code = wait(link, worker, pid)
    finally:
        os._exit(code)


def template_name(environment: Mapping[str, str]) -> str:
    """Ray's library reads these variables when it is loaded: a template serves one job under one raylet."""
    values = [environment.get(name, "") for name in ("RAY_JOB_ID", "RAY_RAYLET_PID")]
    if not all(value.isalnum() for value in values):
        raise NotForked("Ray didn't set RAY_JOB_ID and RAY_RAYLET_PID")
    return "-".join(values)


def template_within_s(environment: Mapping[str, str]) -> int:
    """How many seconds a worker waits for its template; raises ValueError with the name of the variable."""
    given = environment.get(TEMPLATE_WITHIN, "") or str(TEMPLATE_WITHIN_S)
    if not (given.isascii() and given.isdecimal() and 1 <= int(given) <= TEMPLATE_WITHIN_S_MAX):
        raise ValueError(f"{TEMPLATE_WITHIN} must be a whole number from 1 to {TEMPLATE_WITHIN_S_MAX}, not {given!r}")
    return int(given)


def connect(start: Start, name: str) -> socket.socket:
    """Start the template if there is none, and wait for it: to import the same things beside it takes both longer."""
    within_s = template_within_s(os.environ)
    end_s = time.monotonic() + within_s
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(ANSWER_WITHIN_S)
        try:
            link.connect(os.path.join(start.folder, f"{name}.sock"))
            return link
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
        start_template(start, name)
        if time.monotonic() > end_s:
            raise NotForked(f"the template is not ready after {within_s} s")
        time.sleep(0.02)


def ask(link: socket.socket, waiting: int, argv: list[str]) -> int:
    """Send the request; the number of the process that waits for the go."""
    request = {"argv": argv, "cwd": os.getcwd(), "environment": dict(os.environ)}
    body = json.dumps(request).encode()
    try:
        socket.send_fds(link, [len(body).to_bytes(4, "big")], [0, 1, 2, waiting])
        os.close(waiting)
        link.sendall(body)
        answer, _, text = read_line(link).partition(" ")
    except TimeoutError:
        raise NotForked(f"the template didn't answer within {ANSWER_WITHIN_S:.0f} s") from None
    except OSError as error:
        raise NotForked(f"the template went away: {error.strerror}") from None
    if answer != "pid":
        raise NotForked(text or "the template went away")
    return int(text)


def read_line(link: socket.socket) -> str:
    """One line of the template, empty at its end."""
    received = b""
    while not received.endswith(b"\n"):
        more = link.recv(4096)
        if not more:
            break
        received += more
    return received.decode(errors="replace").strip()


def wait(link: socket.socket, worker: int, pid: int) -> int:
    """The worker's exit code; 128 plus the signal's number, as in a shell; 0 when it is unknown."""
    link.settimeout(1)
    try:
        line = read_line(link)
    except TimeoutError:
        # The raylet sets this process's oom_score_adj some time after it started it.
        copy_priority(pid)
        link.settimeout(None)
        line = read_line(link)
    except OSError:
        line = ""
    if not line.startswith("exit "):
        # The template has gone; the worker doesn't need it.
        select.select([worker], [], [])
        return 0
    code = int(line.removeprefix("exit "))
    return code if code >= 0 else SIGNAL_BASE - code


def copy_priority(pid: int) -> None:
    """The raylet gives the process that it started a niceness and a badness; both are meant for the worker."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        if os.getpriority(os.PRIO_PROCESS, pid) != own:
            os.setpriority(os.PRIO_PROCESS, pid, own)
        with open("/proc/self/oom_score_adj") as mine, open(f"/proc/{pid}/oom_score_adj", "r+") as its:
            wanted = mine.read()
            if its.read() != wanted:
                its.seek(0)
                its.write(wanted)
    except OSError:
        pass  # the worker has ended, or the system doesn't let us


def start_template(start: Start, name: str) -> None:
    """Start the template `name` if it doesn't run; raises NotForked with the reason why it can't.

    It holds the lock `<name>.lock` while it lives. The lock's file has one byte for each start since the last orderly
    end; `<name>.broken` holds the reason why no other one is started.
    """
    base = os.path.join(start.folder, name)
    lock = os.open(f"{base}.lock", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if is_free(lock):
            check_starts(start.folder, name, lock)
            os.write(lock, b".")
            spawn(start, base, lock)
    finally:
        os.close(lock)  # the template has its own descriptor of it


def check_starts(folder: str, name: str, lock: int) -> None:
    """Raises NotForked where one more start would be of no use."""
    try:
        with open(os.path.join(folder, f"{name}.broken")) as file:
            raise NotForked(f"the template can't be used: {file.read().strip()}")
    except FileNotFoundError:
        pass
    if os.fstat(lock).st_size >= STARTS_MAX:
        raise NotForked(f"the template died {STARTS_MAX} times; none is started until Ray starts again")
    if len(others(folder, f"{name}.lock")) >= TEMPLATES_MAX:
        raise NotForked(f"{TEMPLATES_MAX} other jobs of this node have a template; there are no more of them")


def spawn(start: Start, base: str, lock: int) -> None:
    """Start the template process detached from this one, because a worker would not reap it."""
    starter = os.fork()
    if starter:
        os.waitpid(starter, 0)
        return
    try:
        if os.fork() == 0:
            os.setpgid(0, 0)  # Ray kills the group of each worker that ends
            os.set_inheritable(lock, True)
            log_path = log_file(start.argv) or os.devnull
            argv = [start.python, start.template, base, str(lock), log_path, start.argv[0]]
            os.execv(start.python, argv)  # noqa: S606
    finally:
        os._exit(0)


def others(folder: str, own: str) -> list[str]:
    """The locks of other templates that live."""
    found = []
    for name in os.listdir(folder):
        if name.endswith(".lock") and name != own:
            descriptor = os.open(os.path.join(folder, name), os.O_RDWR)
            if not is_free(descriptor):
                found.append(name)
            os.close(descriptor)
    return found


def is_free(lock: int) -> bool:
    """Whether the lock was free; this process holds it now, until it closes the file."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def option(argv: list[str], name: str) -> str:
    """The value of `--name=value`; empty when it isn't there."""
    return next((each.partition("=")[2] for each in argv if each.startswith(f"{name}=")), "")


def log_file(argv: list[str]) -> str | None:
    """`warm_start.log` beside Ray's own logs."""
    parts = option(argv, "--temp-dir"), option(argv, "--session-name")
    return os.path.join(*parts, "logs", "warm_start.log") if all(parts) else None


def log(argv: list[str], text: str) -> None:
    """One line with the time, in Ray's form."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    line = f"{stamp},{int(now % 1 * 1000):03d} launcher {os.getpid()}: {text}\n"
    try:
        path = log_file(argv)
        with open(path, "a") if path else open(2, "w", closefd=False) as file:
            file.write(line)
    except OSError:
        pass


if __name__ == "__main__":
    main()
