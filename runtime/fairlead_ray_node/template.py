"""The fork server: imports once what each worker of Ray needs, then forks a worker for each launcher that asks.

Arguments: NAME LOCK LOG SCRIPT. The socket is NAME.sock, LOCK is the inherited descriptor of the held lock NAME.lock,
LOG is the log file, SCRIPT is Ray's `default_worker.py`. It ends with the raylet. The protocol is in launcher.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import pathlib
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from fairlead_ray_node import preload, worker

REQUEST_BYTES_MAX = 4 * 1024 * 1024
# A launcher sends at once; one that doesn't must not hold up the others.
REQUEST_WITHIN_S = 4.0
_DESCRIPTORS = 4
_SET_BY_A_SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}


@dataclasses.dataclass(slots=True, kw_only=True)
class Child:
    """A forked worker: `ended` is its pidfd; `link` leads to its launcher and is None once the launcher has ended."""

    pid: int
    ended: int
    link: socket.socket | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """What a child knows of itself after the fork."""

    request: worker.Request
    descriptors: Sequence[int]


class Refused(Exception):
    """No fork, and why."""


class Finished(Refused):
    """No fork, and none later: the template ends; `broken` when another one would be no better."""

    def __init__(self, reason: str, *, broken: bool) -> None:
        super().__init__(reason)
        self.broken = broken


class Template:
    """Listens, forks, watches its children and the raylet. It has one thread: a child gets only the one that forked."""

    def __init__(self, path: pathlib.Path, raylet: int) -> None:
        """Every process that finds the socket at `path` can connect to it; `raylet` is a pidfd."""
        self._environment = dict(os.environ)
        self._stamps = preload.stamps()
        self._children: dict[int, Child] = {}
        self._forked = False
        self._raylet = raylet
        self._selector = selectors.PollSelector()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        self._server.bind(str(new))
        self._server.listen(128)
        new.rename(path)
        self._selector.register(self._server, selectors.EVENT_READ)
        self._selector.register(raylet, selectors.EVENT_READ)

    def serve(self) -> Forked:
        """Returns in each child. In the template it raises Finished, at the latest when the raylet ends."""
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._raylet:
                    raise Finished("the raylet has ended", broken=False)
                if key.fileobj is not self._server:
                    self._look_after(key.data)
                elif (forked := self._answer()) is not None:
                    return forked

    def _answer(self) -> Forked | None:
        """Take one launcher's request; None in the template."""
        link, _ = self._server.accept()
        descriptors: list[int] = []
        try:
            request = _receive(link, descriptors)
            self._check(request)
            child = os.fork()
            if child == 0:
                self._forget(link)
                return Forked(request=request, descriptors=descriptors)
            self._watch(child, link)
        except Refused as refused:
            with contextlib.suppress(OSError):
                link.sendall(f"no {refused}\n".encode())
            link.close()
            if isinstance(refused, Finished):
                raise
        except (OSError, ValueError) as error:
            log_line(f"a request was dropped: {error}")
            link.close()
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _check(self, request: worker.Request) -> None:
        """Raises Refused where the fork would differ from a worker that starts the ordinary way."""
        if preload.threads() != 1:
            raise Finished(f"the template has {preload.threads()} threads; a fork would lose them", broken=True)
        if (path := preload.changed(self._stamps)) is not None:
            raise Finished(f"{path} has changed since the template read it", broken=False)
        mine, its = self._environment.items(), request.environment.items()
        if differing := sorted({name for name, _ in mine ^ its} - _SET_BY_A_SHELL):
            # What is read from the environment at import would be the template's.
            reason = f"its environment differs from the template's: {', '.join(differing)}"
            if self._forked:
                raise Refused(reason)
            raise Finished(reason, broken=False)  # it started before any worker (early.py), with an assumption

    def _watch(self, pid: int, link: socket.socket) -> None:
        child = Child(pid=pid, ended=os.pidfd_open(pid), link=link)
        self._children[pid] = child
        self._forked = True
        self._selector.register(child.ended, selectors.EVENT_READ, child)
        self._selector.register(link, selectors.EVENT_READ, child)
        with contextlib.suppress(OSError):  # the launcher has gone; so will the child
            link.sendall(f"pid {pid}\n".encode())

    def _look_after(self, child: Child) -> None:
        if child.pid not in self._children:
            return  # it ended and its launcher went in the same moment
        ended, status = os.waitpid(child.pid, os.WNOHANG)
        if ended:
            self._selector.unregister(child.ended)
            os.close(child.ended)
            del self._children[child.pid]
        elif child.link is not None:
            # A launcher says nothing after its request: its end of the connection has closed.
            os.kill(child.pid, signal.SIGKILL)
        if child.link is not None:
            self._selector.unregister(child.link)
            if ended:
                with contextlib.suppress(OSError):
                    child.link.sendall(f"exit {os.waitstatus_to_exitcode(status)}\n".encode())
            child.link.close()
            child.link = None

    def _forget(self, link: socket.socket) -> None:
        """In a child: the descriptors are about to be closed, and their numbers to be used again."""
        for each in (self._server, link, *(child.link for child in self._children.values())):
            if each is not None:
                each.detach()


def _receive(link: socket.socket, descriptors: list[int]) -> worker.Request:
    """Read one request and add its descriptors; raises ValueError or OSError."""
    link.settimeout(REQUEST_WITHIN_S)
    head, received, _, _ = socket.recv_fds(link, 4, _DESCRIPTORS)
    descriptors += received
    size = int.from_bytes(head, "big")
    if len(head) != 4 or len(received) != _DESCRIPTORS or size > REQUEST_BYTES_MAX:
        raise ValueError("not a request of the launcher")
    body = bytearray()
    while len(body) < size:
        if not (more := link.recv(size - len(body))):
            raise ValueError("the connection ended early")
        body += more
    return worker.Request.parse(json.loads(body))


def log_line(text: str) -> None:
    """One line with the time, in Ray's form."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    print(f"{stamp},{int(now % 1 * 1000):03d} template {os.getpid()}: {text}", flush=True)


def main() -> None:
    """In the template: until the raylet ends. In each child: Ray's worker, until that ends."""
    name, lock, log, script_path = sys.argv[1:]
    path, began_s = pathlib.Path(f"{name}.sock"), time.monotonic()
    _redirect(log)
    for_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, nobody learns how a child ended
    try:
        raylet = os.pidfd_open(int(os.environ["RAY_RAYLET_PID"]))
    except ProcessLookupError:
        os._exit(0)
    try:
        script = _prepare(script_path)
        template = Template(path, raylet)
        log_line(f"ready after {time.monotonic() - began_s:.1f} s")
        forked = template.serve()
    except Finished as finished:
        _end(name, int(lock), str(finished), broken=finished.broken)
    except BaseException as error:
        _end(name, int(lock), f"{type(error).__name__}: {error}", broken=True)
        raise
    del template
    worker.become(script, forked.request, forked.descriptors, {signal.SIGCHLD: for_child})


def _redirect(log: str) -> None:
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)):
        descriptor = os.open(path, flags, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.dup2(1, 2)


def _prepare(script_path: str) -> worker.Script:
    """Import everything; raises Finished where a fork could not work."""
    gc.disable()
    # As for the worker's own script: not the folder that this one lies in.
    sys.path[0] = os.path.dirname(script_path)
    preload.import_everything()
    script = worker.Script.read(script_path)
    if (threads := preload.threads()) != 1:
        raise Finished(f"the imports started threads: there are {threads}", broken=True)
    if preload.draws_repeat():
        raise Finished("the imports used Ray's random numbers: all forks would draw the same ids", broken=True)
    gc.collect()
    gc.freeze()  # else the first collection in each child writes to every page, and none is shared any longer
    return script


def _end(name: str, lock: int, reason: str, *, broken: bool) -> NoReturn:
    log_line(f"ends: {reason}")
    pathlib.Path(f"{name}.sock").unlink(missing_ok=True)
    if broken:
        pathlib.Path(f"{name}.broken").write_text(reason)
    else:
        os.ftruncate(lock, 0)  # an orderly end doesn't count
    os._exit(1 if broken else 0)


if __name__ == "__main__":
    # Under a name of its own: in a child, `__main__` is Ray's script.
    from fairlead_ray_node import template as own

    own.main()
