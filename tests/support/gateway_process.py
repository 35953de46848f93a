"""A real gateway with its real HAProxy, and stand-ins for the replicas, all as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.support import node_members, warm_starts
from tests.support.free_ports import free_port
from tests.support.until import until

from fairlead_gateway import routes
from fairlead_gateway.haproxy import config, observed, process
from fairlead_runtime.config import NodeEnvironment

DEADLINE_S = 120.0


def make_node(folder: Path, *, host: str = "127.0.0.1", cluster: str = "default") -> NodeEnvironment:
    """A Ray node of its own: a new folder, and an address that nobody else has."""
    folder.mkdir(parents=True, exist_ok=True)
    return node_members.node(folder, host=host, cluster=f"default/{cluster}")


def spec(stable: str | None, revisions: Mapping[str, Mapping[str, Any]], **changed: Any) -> dict[str, Any]:
    """One model's route, with the version that its content has."""
    content = {
        "stable": stable,
        "candidateWeight": 0,
        "revisions": revisions,
        "maxRequestBytes": 1 << 20,
        "requestTimeoutSeconds": 30,
        **changed,
    }
    return {**content, "version": routes.spec_version(content)}


def retired() -> dict[str, Any]:
    """The mark of a model that has no route any more."""
    return {"retired": True, "version": routes.spec_version({"retired": True})}


def revision(*, cluster: str = "default", aliases: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"cluster": cluster, "aliases": list(aliases)}


@dataclass
class StandIn:
    """One replica's process."""

    process: warm_starts.Started
    output: IO[str]
    name: str
    port: int

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def drain(self) -> dict[str, int]:
        """End it as Ray does, and return what it says it served."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        return dict(json.loads(self.output.read().splitlines()[-1]))


@dataclass
class Replicas:
    """The stand-ins of one test, on one node unless they are started on another."""

    node: NodeEnvironment
    running: list[StandIn] = field(default_factory=list)

    def start(
        self, model: str, revision_name: str, *, delay_s: float = 0.0, node: NodeEnvironment | None = None
    ) -> StandIn:
        """Start one, and return once it listens and is listed."""
        reads, writes = os.pipe()
        try:
            child = warm_starts.program("tests.support.replica_stand_in:main").start(
                ["--model", model, "--revision", revision_name, "--delay", str(delay_s)],
                stdout=writes,
                stderr=2,
                environment={**os.environ, **node_members.variables(node or self.node)},
            )
        finally:
            os.close(writes)
        output = open(reads, encoding="utf-8")  # noqa: SIM115 - closed by `stop`
        announced = json.loads(output.readline())
        started = StandIn(process=child, output=output, name=announced["name"], port=announced["port"])
        self.running.append(started)
        return started

    def stop(self) -> None:
        for each in self.running:
            if each.process.poll() is None:
                each.kill()
            each.output.close()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def fetch(
    url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None, timeout_s: float = DEADLINE_S
) -> Answer:
    """One request with its answer, whatever its status."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            return Answer(
                response.status, {k.lower(): v for k, v in response.headers.items()}, response.read().decode()
            )
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode())


class Gateway:
    """One gateway on free ports. `arguments` name where its routes come from; by default a file that `route` writes."""

    def __init__(
        self,
        state_dir: Path,
        *,
        nodes: Sequence[NodeEnvironment] = (),
        arguments: tuple[str, ...] = (),
        stop_delay_s: float = 0,
        stop_grace_s: float = 10,
        is_forked: bool = True,
    ) -> None:
        """A fork starts sooner than the gateway's command, and shares its memory with others."""
        self.state_dir = state_dir
        self.nodes = tuple(nodes)
        self._stop_delay_s = stop_delay_s
        self._stop_grace_s = stop_grace_s
        self.data_port = free_port()
        self.admin_port = free_port()
        self._routes_file = state_dir.parent / f"{state_dir.name}-routes.json"
        self.arguments = arguments or ("--routes-file", str(self._routes_file))
        self._is_forked = is_forked
        self._agent: subprocess.Popen[bytes] | warm_starts.Started | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.data_port}"

    @property
    def pid(self) -> int:
        assert self._agent is not None
        return self._agent.pid

    def start(self) -> None:
        """Start the agent; what it writes goes to a file, as nobody might read a pipe."""
        self.state_dir.mkdir(exist_ok=True)
        flags = [
            "--listen", f"127.0.0.1:{self.data_port}", "--admin", f"127.0.0.1:{self.admin_port}",
            "--state-dir", str(self.state_dir), "--stop-grace", str(self._stop_grace_s),
            "--stop-delay", str(self._stop_delay_s), *self._node_flags(), *self.arguments,
        ]  # fmt: skip
        with (self.state_dir / "agent.log").open("ab") as log:
            if self._is_forked:
                program = warm_starts.program("fairlead_gateway.main:main")
                self._agent = program.start(flags, stdout=log.fileno(), stderr=log.fileno(), environment=os.environ)
            else:
                command = [sys.executable, "-c", "from fairlead_gateway.main import main; main()", *flags]
                self._agent = subprocess.Popen(command, stdout=log, stderr=log)

    def _node_flags(self) -> list[str]:
        clusters = [each.cluster.partition("/")[2] for each in self.nodes]
        return [
            f"--node={cluster}={each.directory_host}:{each.directory_port}"
            for cluster, each in zip(clusters, self.nodes, strict=True)
        ]

    def is_running(self) -> bool:
        """Whether the agent's process lives."""
        return self._agent is not None and self._agent.poll() is None

    def kill_agent(self) -> None:
        assert self._agent is not None
        self._agent.kill()
        self._agent.wait()

    def stop(self) -> None:
        """End agent and HAProxy, also what a killed agent left."""
        if self._agent is not None and self._agent.poll() is None:
            self._agent.terminate()
            self._agent.wait(DEADLINE_S)
        if (master := self.master()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(master, signal.SIGTERM)
            until(lambda: process.start_time(master) is None, "HAProxy ends")

    def master(self) -> int | None:
        """HAProxy's recorded process, if it lives."""
        try:
            record = json.loads((self.state_dir / process.RECORD_FILE).read_text())
        except OSError:
            return None
        pid = int(record["pid"])
        return pid if process.start_time(pid) == record["startTime"] else None

    def workers(self) -> list[int]:
        master = self.master()
        if master is None:
            return []
        try:
            return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
        except OSError:
            return []

    def route(self, **models: Mapping[str, Any]) -> None:
        """Write all specs."""
        temporary = self._routes_file.with_suffix(".new")
        temporary.write_text(json.dumps(models))
        temporary.replace(self._routes_file)

    def apply(self, **models: Mapping[str, Any]) -> None:
        """Write all specs and wait until the gateway says that each version is live. One that is missing stays."""
        self.route(**models)
        expected = {model: one["version"] for model, one in models.items()}
        until(lambda: expected.items() <= self.live().items(), f"live: {expected}", explain=self.routes)

    def forget(self, *models: str) -> None:
        """Retire these routes, wait until the gateway confirms it, and remove them with all others."""
        self.apply(**{model: retired() for model in models})
        self.route()
        until(lambda: not set(models) & self.routes()["routes"].keys(), "forgotten", explain=self.routes)

    def routes(self) -> dict[str, Any]:
        """The body of `/v1/routes`; empty while the agent does not answer."""
        with contextlib.suppress(OSError):
            answer = fetch(f"http://127.0.0.1:{self.admin_port}/v1/routes")
            if answer.status == 200:
                return dict(answer.json)
        return {}

    def live(self) -> dict[str, Any]:
        return {model: one["version"] for model, one in self.routes().get("routes", {}).items()}

    def up(self, model: str, revision_name: str) -> int:
        found = self.routes().get("routes", {}).get(model, {}).get("revisions", {}).get(revision_name, {})
        return int(found.get("up", 0))

    def wait_up(self, model: str, revision_name: str, count: int = 1) -> None:
        until(lambda: self.up(model, revision_name) == count, f"{count} of {revision_name} up")

    def servers_up(self) -> set[str]:
        """The replicas that HAProxy would send a prediction to, by its own word; empty while it does not answer."""
        try:
            text = _ask(self.state_dir / config.RUNTIME_SOCKET, "show servers state")
        except OSError:
            return set()
        servers = observed.parse_servers(text)
        return {name for (backend, name), server in servers.items() if backend[0] == "p" and server.is_up}

    def pool(self) -> dict[str, Any]:
        """Which place is whose, as it is kept on disk."""
        return dict(json.loads((self.state_dir / "pool.json").read_text()))

    def admin(self, path: str) -> Answer | None:
        """An answer of the admin port; None while nothing listens there."""
        with contextlib.suppress(OSError):
            return fetch(f"http://127.0.0.1:{self.admin_port}{path}")
        return None

    def measurements(self, model: str) -> Any:
        """The body of `/v1/measurements/<model>`."""
        answer = self.admin(f"/v1/measurements/{model}")
        assert answer is not None
        assert answer.status == 200, answer.text
        return answer.json

    def is_ready(self) -> bool:
        answer = self.admin("/readyz")
        return answer is not None and answer.status == 200

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        answer = self.admin("/metrics")
        total = 0.0
        for line in answer.text.splitlines() if answer else ():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(
                f'{key}="{wanted}"' in sample for key, wanted in labels.items()
            ):
                total += float(value)
        return total


def _ask(path: Path, command: str) -> str:
    """One command on a socket whose path may be longer than an address may be."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(60)
            asked.connect(f"/proc/self/fd/{folder}/{path.name}")
            asked.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: asked.recv(1 << 16), b"")).decode()
    finally:
        os.close(folder)


@contextlib.contextmanager
def gateway_and_replicas(root: Path) -> Iterator[tuple[Gateway, Replicas]]:
    """A gateway, started, and a way to start replicas; nothing of them is left after the block."""
    node = make_node(root / "node")
    made, replicas = Gateway(root / "gateway", nodes=[node]), Replicas(node)
    try:
        made.start()
        yield made, replicas
    finally:
        made.stop()
        replicas.stop()
