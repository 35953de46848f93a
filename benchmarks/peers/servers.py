"""Starts the servers of a run, waits until each gives the model's answers, and ends them."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import bodies, environments, grpc_load, peer, processes

ROOT = Path(__file__).parents[2]
START_S = 200.0
REFUSED = frozenset({400, 405, 413, 415, 422})
"""What a server answers that has started, and that doesn't understand the request."""
NAMES = ("replica", "gateway", "uvicorn", "triton", "ray", "litserve", "mlserver", "kserve", "bentoml")
"""Ours, the ceiling, and the others; in the order of the tables."""


class CannotServe(Exception):
    """A server ended or gave no right answer in time; the text has the end of its log."""


def find_peer(name: str) -> peer.Peer:
    """What the server's module describes."""
    described: peer.Peer = importlib.import_module(f"benchmarks.peers.serve_{name}").PEER
    return described


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that runs."""

    name: str
    peer: peer.Peer
    asked: peer.Asked
    mark: str
    process: subprocess.Popen[bytes]

    @property
    def http_port(self) -> int:
        """The port that it was given, or the one that it chose."""
        chosen = self.asked.folder / "port"
        return int(chosen.read_text()) if chosen.exists() else self.asked.http_port

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.http_port if self.peer.has_one_port else self.asked.grpc_port}"

    @property
    def path(self) -> str:
        return self.peer.path.format(model=self.asked.model)

    def processor_s(self) -> float:
        return processes.processor_s(processes.find(self.mark))

    def pss_mb(self) -> float:
        return processes.pss_mb(processes.find(self.mark))

    def log_end(self, lines: int = 20) -> str:
        text = (self.asked.folder / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


@contextlib.contextmanager
def started(name: str, model: str, folder: Path, saved_model: Path) -> Iterator[Server]:
    """One server for a with-block; nothing of it is left after the block."""
    server = _start(name, model, folder, saved_model)
    try:
        yield server
    finally:
        server.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(20)
        processes.end(server.mark)
        server.process.wait()


def _start(name: str, model: str, folder: Path, saved_model: Path) -> Server:
    described = find_peer(name)
    folder.mkdir(parents=True)
    http_port, grpc_port = _free_ports(2)
    asked = peer.Asked(model=model, saved_model=saved_model, http_port=http_port, grpc_port=grpc_port, folder=folder)
    mark = f"{os.getpid()}-{folder.name}"
    # One thread of TensorFlow each, as Ray gives a replica of one processor.
    variables = {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", processes.MARK: mark}
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [str(environments.python_of(described)), "-m", "benchmarks.peers.run_server", f"serve_{name}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, asked.to_json()],
            cwd=ROOT,
            env={**environment, **variables},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    return Server(name=name, peer=described, asked=asked, mark=mark, process=process)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def await_right_answers(server: Server, asked: bodies.Requests) -> None:
    """Sends each body once, when the server answers at all.

    Raises:
        CannotServe: it ended, refused the request, or gave no answer with status 200 in ``START_S``.
        bodies.WrongAnswer: it gave other numbers than the model.
    """
    deadline, last = time.monotonic() + START_S, "no answer"
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise CannotServe(f"{server.name} ended with {server.process.returncode}:\n{server.log_end()}")
        ask = _call if asked.encoding == peer.GRPC else _ask
        status, last = ask(server, asked, 0)
        if status == http.client.OK:
            for number in range(len(asked.bodies)):
                ask(server, asked, number)
            return
        if status in REFUSED:
            break
        time.sleep(0.2)
    raise CannotServe(f"{server.name} gave no answer with status 200: {last}:\n{server.log_end()}")


def _ask(server: Server, asked: bodies.Requests, number: int) -> tuple[int, str]:
    """The status of one request, 0 where there was no answer; an answer with 200 is checked whole."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    headers = {"content-type": "application/json", **dict(asked.headers)}
    try:
        connection.request("POST", server.path, body=asked.bodies[number], headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, repr(error)
    finally:
        connection.close()
    if answer.status == http.client.OK:
        bodies.check(asked, number, body, answer.headers.get(bodies.HEADER_LENGTH))
    return answer.status, body[:300].decode(errors="replace")


def _call(server: Server, asked: bodies.Requests, number: int) -> tuple[int, str]:
    """The same by gRPC."""
    import grpc

    with grpc.insecure_channel(server.grpc_address) as channel:
        try:
            answer = channel.unary_unary(grpc_load.METHOD)(asked.bodies[number], timeout=60)
        except grpc.RpcError as error:
            is_refused = error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
            return http.client.BAD_REQUEST if is_refused else 0, f"{error.code()}: {error.details()}"
    bodies.check(asked, number, answer, None)
    return http.client.OK, ""
