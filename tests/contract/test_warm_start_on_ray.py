"""The workers of a real Ray are forks of the template, whichever process is killed, and ordinary ones without it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import leftovers, listeners
from tests.support.until import until

from fairlead_cli.local import cluster, process_table, state

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REPOSITORY = Path(__file__).resolve().parents[2]
APPLICATION = {
    "name": "app",
    "import_path": "tests.support.ray_app:build",
    "route_prefix": None,
    "args": {"config": {"source": {"uri": "file:///good"}}},
    "deployments": [{"name": "replica", "num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}}],
}
# Python runs it at each start that doesn't forbid it: the template's alone ends.
WITHOUT_TEMPLATE = """
import os, sys
if any(each.endswith("/fairlead_ray_node/template.py") for each in sys.orig_argv):
    os._exit(1)
"""
# The agents of a busy machine, but for ever: they are stopped before they have imported anything.
WITHOUT_AGENT = """
import os, signal, sys
if any(each.endswith("/dashboard/agent.py") for each in sys.orig_argv):
    os.kill(os.getpid(), signal.SIGSTOP)
"""


class Node:
    """A Ray node of one replica."""

    def __init__(self, local: cluster.LocalCluster) -> None:
        self.local = local

    def put(self, application: Mapping[str, Any]) -> None:
        body = {"proxy_location": "Disabled", "applications": [application]}
        self._call("PUT", body)

    def replica(self, *, other_than: int = 0) -> int:
        """The process of the running replica, once it is another one."""
        return until(
            lambda: next((pid for pid in self._running() if pid != other_than), 0), "a replica runs", explain=self.log
        )

    def log(self) -> str:
        path = self.local.ray_logs / "warm_start.log"
        return path.read_text() if path.exists() else ""

    def _running(self) -> list[int]:
        found = self._call("GET").json()["applications"]
        deployments = found["app"]["deployments"].values() if "app" in found else ()
        replicas = [each for deployment in deployments for each in deployment["replicas"]]
        return [each["pid"] for each in replicas if each["state"] == "RUNNING" and is_alive(each["pid"])]

    def _call(self, method: str, body: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.local.ray_token_file.read_text().strip()}"}
        url = f"{self.local.ray_address}/api/serve/applications/"
        return httpx.request(method, url, headers=headers, json=body, timeout=120).raise_for_status()


def is_alive(pid: int) -> bool:
    found = process_table.entry(pid)
    return found is not None and not found.is_zombie


def parent(pid: int) -> int:
    found = process_table.entry(pid)
    assert found is not None
    return found.parent_pid


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def template_of(replica: int) -> int:
    found = parent(replica)
    assert "/fairlead_ray_node/template.py" in command(found)
    return found


def launcher_of(replica: int) -> int:
    """The launcher holds a pidfd of its worker."""
    for each in process_table.entries():
        pid = each.identity.pid
        if "/fairlead_ray_node/launcher.py" not in command(pid):
            continue
        for descriptor in Path(f"/proc/{pid}/fdinfo").iterdir():
            if f"Pid:\t{replica}\n" in descriptor.read_text():
                return pid
    raise AssertionError(f"no launcher waits for {replica}")


def is_agent(command: str) -> bool:
    """Whether it is the command of a dashboard agent: the raylet has that among its arguments."""
    return "/dashboard/agent.py" in command and "_command=" not in command


def _mark(node: Node) -> str:
    remembered = state.State.read(node.local.root / "state.json")
    assert remembered is not None
    return remembered.mark


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    started = cluster.LocalCluster("warm", tmp_path_factory.mktemp("local") / "cluster")
    with leftovers.owned(started):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(REPOSITORY))
            patch.delenv("FAIRLEAD_WARM_START", raising=False)
            started.up(("ray",))
        found = Node(started)
        sockets = started.warm_start("ray")
        until(lambda: list(sockets.glob("*.sock")), "the template is ready", deadline_s=400, explain=found.log)
        found.put(APPLICATION)
        yield found


def test_every_worker_is_a_fork_of_the_template(node: Node) -> None:
    template = template_of(node.replica())
    workers = [each.identity.pid for each in process_table.entries() if each.parent_pid == template]
    assert len(workers) >= 2, "the controller, too"
    assert "the ordinary way" not in node.log()


def pids_of(node: Node) -> list[int]:
    mark = f"FAIRLEAD_LOCAL_MARK={_mark(node)}".encode()
    pids = [each.identity.pid for each in process_table.entries() if not each.is_zombie]
    return [pid for pid in pids if process_table.has_mark(pid, mark)]


def test_a_head_listens_on_loopback_alone(node: Node) -> None:
    """Replicas are left out: Ray Serve opens a server in each of them that listens at every address."""
    own = [pid for pid in pids_of(node) if not command(pid).startswith("ray::ServeReplica")]
    assert listeners.outside_loopback(own) == []


def test_a_head_runs_no_server_of_ray_client(node: Node) -> None:
    commands = [command(pid) for pid in pids_of(node)]
    assert any("/raylet" in each for each in commands)
    assert not [each for each in commands if "ray.util.client.server" in each]


def test_a_killed_replica_is_replaced_by_another_fork(node: Node) -> None:
    first = node.replica()
    template = template_of(first)
    os.kill(first, signal.SIGKILL)
    assert template_of(node.replica(other_than=first)) == template


def test_a_replica_ends_with_its_launcher_and_is_replaced(node: Node) -> None:
    first = node.replica()
    os.kill(launcher_of(first), signal.SIGKILL)
    until(lambda: not is_alive(first), "the replica has ended")
    assert template_of(node.replica(other_than=first)) > 0


def test_a_replica_survives_its_template_and_the_next_one_gets_a_new_template(node: Node) -> None:
    first = node.replica()
    template, before = template_of(first), node.log().count(": ready after")
    os.kill(template, signal.SIGKILL)
    until(lambda: not is_alive(template), "the template has ended")
    assert node.replica() == first
    os.kill(first, signal.SIGKILL)
    second = node.replica(other_than=first)
    until(lambda: node.log().count(": ready after") > before, "another template is ready", explain=node.log)
    # On a busy machine the worker that asked for it didn't wait so long.
    os.kill(second, signal.SIGKILL)
    assert template_of(node.replica(other_than=second)) != template


def test_after_ray_was_killed_no_process_is_left(node: Node) -> None:
    replica = node.replica()
    template, launcher = template_of(replica), launcher_of(replica)
    os.kill(node.local.pid("ray"), signal.SIGKILL)
    until(lambda: not any(map(is_alive, (template, launcher, replica))), "all have ended", explain=node.log)


def test_a_node_ends_with_its_agent(node: Node) -> None:
    """Its raylet exits with 0 then, and a node without a raylet would run nothing, with nobody to start it again."""
    node.local.start("ray")
    ray = node.local.pid("ray")
    (agent,) = (pid for pid in pids_of(node) if is_agent(command(pid)))
    os.kill(agent, signal.SIGKILL)
    until(lambda: not is_alive(ray), "Ray has ended", explain=node.log)


@pytest.mark.nightly
def test_workers_start_without_a_fork_when_there_is_no_template(node: Node, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TEMPLATE)
    node.local.stop("ray", signal.SIGKILL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{REPOSITORY}")
        node.local.start("ray")
    node.put(APPLICATION)
    assert "/raylet" in command(parent(node.replica()))
    assert "starts the ordinary way: the template died 5 times" in node.log()


@pytest.mark.nightly
def test_a_node_starts_before_its_agent_does(node: Node, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_AGENT)
    node.local.stop("ray", signal.SIGKILL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{REPOSITORY}")
        node.local.start("ray")
    commands = {each.identity.pid: command(each.identity.pid) for each in process_table.entries()}
    (agent,) = (pid for pid, found in commands.items() if is_agent(found))
    assert "State:\tT (stopped)" in Path(f"/proc/{agent}/status").read_text()
    node.put(APPLICATION)
    assert node.replica() > 0


def test_down_leaves_no_process(node: Node) -> None:
    mark = f"FAIRLEAD_LOCAL_MARK={_mark(node)}".encode()
    node.local.down()
    assert [each for each in process_table.entries() if process_table.has_mark(each.identity.pid, mark)] == []
