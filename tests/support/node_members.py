"""A Ray node's folder and address, and replicas that are members of it: the real code, without a model.

Run as a program it is one real process: ``python -m tests.support.node_members VARIABLES REPLICA`` (both JSON). It
prints ``listed``, and then repeats each line of its standard input when it has done it: ``drain`` or ``leave``.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.free_ports import free_port

from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.discovery import entry, member

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = "default/default"


def node(folder: Path, *, host: str = "127.0.0.1", cluster: str = CLUSTER) -> NodeEnvironment:
    """A node of its own: a new folder, and an address that nobody else has."""
    return NodeEnvironment(
        cluster=cluster,
        replica_host=host,
        folder=folder / "node",
        directory_host=host,
        directory_port=free_port(),
    )


def variables(node: NodeEnvironment) -> dict[str, str]:
    """The environment of that Ray node. Source: docs/contracts.md, "Replica discovery"."""
    return {
        "FAIRLEAD_CLUSTER": node.cluster,
        "FAIRLEAD_REPLICA_HOST": node.replica_host,
        "FAIRLEAD_NODE_FOLDER": str(node.folder),
        "FAIRLEAD_NODE_DIRECTORY": f"{node.directory_host}:{node.directory_port}",
    }


def set_environment(monkeypatch: pytest.MonkeyPatch, node: NodeEnvironment) -> None:
    for name, value in variables(node).items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the directory answered; `replicas` by name."""

    status: int
    version: str
    cluster: str
    replicas: tuple[dict[str, Any], ...]

    @property
    def states(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in self.replicas}


def ask(node: NodeEnvironment, query: str = "", *, timeout_s: float = 100) -> Answer:
    """One question over a new connection; raises OSError when the process that got it doesn't answer."""
    connection = http.client.HTTPConnection(node.directory_host, node.directory_port, timeout=timeout_s)
    try:
        connection.request("GET", f"/v1/replicas{query}")
        with connection.getresponse() as answer:
            raw = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        return Answer(answer.status, "", "", ())
    body = json.loads(raw)
    return Answer(200, body["version"], body["cluster"], tuple(body["replicas"]))


def replica(number: int = 0, **changed: Any) -> entry.Replica:
    """A replica of digits; another number is another one."""
    fields: Mapping[str, Any] = {
        "name": f"3f0c9a1b2d-{number:016x}",
        "namespace": "default",
        "model": "digits",
        "revision": "3f0c9a1b2d",
        "port": 40000 + number,
    }
    return entry.Replica(**{**fields, **changed})


class Process:
    """One member in a process of its own, listed as ready; killed at the end at the latest."""

    def __init__(self, node: NodeEnvironment, described: entry.Replica) -> None:
        self.name = described.name
        fields = {key: getattr(described, key) for key in ("name", "namespace", "model", "revision", "port")}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.support.node_members", json.dumps(variables(node)), json.dumps(fields)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def until_listed(self) -> None:
        assert self._child.stdout is not None
        assert self._child.stdout.readline() == "listed\n"

    def order(self, what: str) -> None:
        """`drain` or `leave`; returns when it is done."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{what}\n")
        self._child.stdin.flush()
        assert self._child.stdout.readline() == f"{what}\n"

    def send(self, signal_number: int) -> None:
        os.kill(self._child.pid, signal_number)

    def kill(self) -> None:
        """SIGKILL; returns when the kernel has taken the process away."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def processes(node: NodeEnvironment, count: int, *, first: int = 0) -> Iterator[list[Process]]:
    """So many members, all listed."""
    started = [Process(node, replica(number)) for number in range(first, first + count)]
    try:
        for each in started:
            each.until_listed()
        yield started
    finally:
        for each in started:
            each.kill()


def main(environment: str, described: str) -> None:
    from fairlead_runtime import config

    os.environ.update(json.loads(environment))
    joined = member.Member(config.node_environment())
    joined.announce(entry.Replica(**json.loads(described)))
    print("listed", flush=True)
    for line in sys.stdin:
        if line == "drain\n":
            joined.drain()
        elif line == "leave\n":
            joined.leave()
        print(line, end="", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(sys.argv[1], sys.argv[2])
