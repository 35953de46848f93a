"""What hostile clients meet: a replica with TensorFlow in a process of its own behind a gateway, and a good client.

The good client sends predictions all the time, and knows each answer. What its requests and the processes must show in
the end is in ``GoodClient.faults`` and ``World.find_faults``.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile.replica import MODEL, REVISION
from tests.support import node_members
from tests.support.gateway_process import Gateway, make_node, revision, spec

BODY_BYTES_MAX = 64 * 1024
GROWTH_BYTES_MAX = 64 * 1024 * 1024
"""What a process may grow by between a quarter of the requests and the last: arenas and caches that fill up slowly."""
RAY = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}
"""The token of a Ray cluster, by which feedback is signed."""
GOOD_PATH = f"/v2/models/{MODEL}/infer"


@dataclass
class GoodClient:
    """Sends one prediction after the other, each with a row and an id of its own, and checks the answer."""

    port: int
    requests: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        chosen = random.Random(0)
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._ended.is_set():
            row = [chosen.randrange(1 << 20) for _ in range(4)]
            tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": row}
            asked_id = f"good-{self.requests}"
            self.requests += 1
            try:
                client.request("POST", GOOD_PATH, json.dumps({"inputs": [tensor]}), {"x-request-id": asked_id})
                answer = client.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                client.close()
                self.faults.append(f"{asked_id}: {type(error).__name__}: {error}")
                continue
            found = (answer.status, answer.headers["x-request-id"])
            if found != (200, asked_id) or json.loads(body)["outputs"][0]["data"] != [2 * each for each in row]:
                self.faults.append(f"{asked_id}: {found} {body[:200]!r} for {row}")


@dataclass
class World:
    gateway: Gateway
    good: GoodClient
    replica_pid: int

    def __post_init__(self) -> None:
        self._processes = self._list_processes()
        self._bytes: dict[str, int] = {}

    @property
    def port(self) -> int:
        return self.gateway.data_port

    def note_memory(self) -> None:
        """From here on no process may grow by much."""
        self._bytes = self._resident_bytes()

    def describe_memory(self) -> str:
        """What each process has, and by how much it grew."""
        now = self._resident_bytes()
        return ", ".join(
            f"{name} {size >> 20} MiB ({(size - self._bytes[name]) / 2**20:+.1f})" for name, size in now.items()
        )

    def find_faults(self) -> list[str]:
        """What the processes show that they must not."""
        if (processes := self._list_processes()) != self._processes:
            return [f"a process ended or was started: {self._processes} before, {processes} after"]
        grown = {name: size - self._bytes[name] for name, size in self._resident_bytes().items()}
        return [f"{name} grew by {each} bytes" for name, each in grown.items() if each > GROWTH_BYTES_MAX]

    def _list_processes(self) -> dict[str, list[int]]:
        return {
            "replica": [self.replica_pid] if Path(f"/proc/{self.replica_pid}").exists() else [],
            "agent": [self.gateway.pid] if self.gateway.is_running() else [],
            "haproxy": sorted(self.gateway.workers()),
        }

    def _resident_bytes(self) -> dict[str, int]:
        return {name: sum(map(_resident_bytes, pids)) for name, pids in self._list_processes().items()}


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """Everything up, and the good client under way."""
    node = make_node(folder / "node")
    gateway = Gateway(folder / "gateway", nodes=[node], is_forked=False)
    gateway.start()
    environment = {**os.environ, **node_members.variables(node), **RAY, "FAIRLEAD_CACHE_DIR": str(folder / "cache")}
    with (folder / "replica.log").open("wb") as log:
        replica = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.replica", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment,
        )  # fmt: skip
    try:
        if replica.stdout is None or replica.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the replica did not start: {(folder / 'replica.log').read_text()[-2000:]}")
        gateway.apply(**{MODEL: spec(REVISION, {REVISION: revision(aliases=("1",))}, maxRequestBytes=BODY_BYTES_MAX)})
        gateway.wait_up(MODEL, REVISION)
        world = World(gateway, GoodClient(gateway.data_port), replica.pid)
        world.good.start()
        try:
            yield world
        finally:
            world.good.stop()
    finally:
        replica.communicate()
        gateway.stop()
