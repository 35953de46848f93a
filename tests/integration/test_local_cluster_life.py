"""The local cluster's life: up, killed in the middle, parts restarted, taken down whole."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.support import leftovers, listeners
from tests.support.until import until

from fairlead_cli.local import cluster, process_table, state

pytestmark = pytest.mark.real

UP = """
import pathlib, sys
from fairlead_cli.local import cluster
cluster.LocalCluster("t", pathlib.Path(sys.argv[1])).up(["etcd"])
"""


OWNED = """
import pathlib, signal, sys
from fairlead_cli.local import cluster
from tests.support import leftovers, listeners
local = cluster.LocalCluster("t", pathlib.Path(sys.argv[1]))
with leftovers.owned(local, notes=pathlib.Path(sys.argv[2])):
    local.up(["etcd"])
    signal.pause()
"""
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    yield tmp_path / "cluster"
    cluster.LocalCluster("t", tmp_path / "cluster").down()


def marked(mark: str) -> set[int]:
    wanted = f"FAIRLEAD_LOCAL_MARK={mark}".encode()
    living = [each for each in process_table.entries() if not each.is_zombie]
    return {each.identity.pid for each in living if process_table.has_mark(each.identity.pid, wanted)}


def launch(root: pathlib.Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", UP, str(root)])


def mark_of(root: pathlib.Path) -> str:
    found = state.State.read(root / "state.json")
    assert found is not None
    return found.mark


def test_down_after_the_launcher_was_killed_leaves_nothing(root: pathlib.Path) -> None:
    launcher = launch(root)
    made = cluster.LocalCluster("t", root)
    # Killed while the API server is starting: etcd runs, and the launcher has not reported it.
    until(lambda: "kube-apiserver" in made.running(), "the API server starts")
    launcher.kill()
    launcher.wait()
    mark = mark_of(root)
    assert len(marked(mark)) >= 2
    made.down()
    assert marked(mark) == set()
    assert not root.exists()
    assert not state.run_dir(root).exists()


def test_the_next_test_run_ends_the_cluster_of_one_that_was_killed(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    notes = tmp_path / "notes"
    killed = subprocess.Popen([sys.executable, "-c", OWNED, str(root), str(notes)], cwd=REPOSITORY)
    until(lambda: cluster.LocalCluster("t", root).running() == ("etcd",), "etcd runs")
    mark = mark_of(root)
    leftovers.end_orphans(notes)
    assert marked(mark), "its run lives"
    killed.kill()
    killed.wait()
    leftovers.end_orphans(notes)
    assert marked(mark) == set()
    assert not root.exists()
    assert list(notes.iterdir()) == []


def test_up_after_a_killed_up_cleans_and_starts(root: pathlib.Path) -> None:
    launcher = launch(root)
    made = cluster.LocalCluster("t", root)
    until(lambda: "etcd" in made.running(), "etcd runs")
    launcher.kill()
    launcher.wait()
    earlier = mark_of(root)
    made.up(cluster.KUBERNETES_PARTS)
    assert marked(earlier) == set()
    assert made.kubectl("get", "namespace", "default").returncode == 0


def test_two_concurrent_ups_start_one_cluster(root: pathlib.Path) -> None:
    launchers = [launch(root) for _ in range(2)]
    assert [launcher.wait(timeout=400) for launcher in launchers] == [0, 0]
    assert len(marked(mark_of(root))) == len(cluster.KUBERNETES_PARTS)


def test_restarted_control_plane_parts_keep_their_ports_and_data(root: pathlib.Path) -> None:
    made = cluster.LocalCluster("t", root)
    made.up(cluster.KUBERNETES_PARTS)
    assert made.kubectl("create", "configmap", "kept", "--from-literal=a=b").returncode == 0
    ports, pids = dict(made.ports), {part: made.pid(part) for part in cluster.KUBERNETES_PARTS}
    made.restart("etcd", signal.SIGKILL)
    made.restart("kube-apiserver", signal.SIGKILL)
    assert made.ports == ports
    assert made.pid("etcd") != pids["etcd"]
    assert made.kubectl("get", "configmap", "kept", "-o", "jsonpath={.data.a}").stdout == "b"


def test_a_service_account_gets_a_kubeconfig_with_its_own_rights_only(kubernetes: cluster.LocalCluster) -> None:
    path = kubernetes.service_account_kubeconfig("fairlead-system", "fairlead-operator")
    assert path.stat().st_mode & 0o777 == 0o600

    def can(*what: str) -> str:
        return kubernetes.kubectl("--kubeconfig", str(path), "auth", "can-i", *what).stdout.strip()

    assert can("patch", "modeldeployments.fairlead.dev", "-n", "default") == "yes"
    assert can("get", "secrets", "-n", "default") == "no"
    assert can("create", "modelroutes.fairlead.dev", "-n", "default") == "yes"
    assert can("create", "modelroutes.fairlead.dev", "-n", "kube-system") == "no"


def test_every_write_is_in_the_audit_log_and_no_read(kubernetes: cluster.LocalCluster) -> None:
    assert kubernetes.kubectl("create", "configmap", "audited").returncode == 0
    assert kubernetes.kubectl("get", "configmap", "audited").returncode == 0
    events = [json.loads(line) for line in kubernetes.audit_log.read_text().splitlines()]
    seen = [event["verb"] for event in events if event.get("objectRef", {}).get("name") == "audited"]
    assert seen == ["create"]
    assert {event["verb"] for event in events}.isdisjoint({"get", "list", "watch"})


def test_a_killed_gateway_leaves_no_haproxy_behind(root: pathlib.Path) -> None:
    made = cluster.LocalCluster("t", root)
    made.up(["gateway"])
    mark = mark_of(root)
    ports = dict(made.ports)
    until(lambda: len(marked(f"{mark}-gateway")) >= 2, "the agent and its HAProxy run")
    made.restart("gateway", signal.SIGKILL)
    assert made.ports == ports
    until(lambda: len(marked(f"{mark}-gateway")) >= 2, "the agent and its HAProxy run")
    os.kill(made.pid("gateway"), signal.SIGKILL)
    until(lambda: "gateway" not in made.running(), "the gateway ended")
    made.down()
    assert marked(mark) == set()


def status_of(made: cluster.LocalCluster, path: str, token: str | None) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", made.ports["ray-dashboard"], timeout=100)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.nightly
@pytest.mark.timeout(1200)  # two starts of Ray, each of minutes where the machine is shared
def test_ray_asks_for_its_token_listens_on_loopback_and_goes_down_whole(root: pathlib.Path) -> None:
    made = cluster.LocalCluster("t", root)
    made.up(["ray"])
    token, mark = made.ray_token_file.read_text(), mark_of(root)
    assert made.ray_token_file.stat().st_mode & 0o777 == 0o600
    assert status_of(made, "/api/version", token) == 200
    assert status_of(made, "/api/version", None) == 401
    assert status_of(made, "/api/serve/applications/", "wrong") == 403
    assert listeners.outside_loopback(marked(mark)) == []
    ports = dict(made.ports)

    made.restart("ray", signal.SIGKILL)
    assert made.ports == ports
    assert status_of(made, "/api/version", token) == 200

    # The parent of all is killed, and its children outlive it: `down` finds them.
    os.kill(made.pid("ray"), signal.SIGKILL)
    until(lambda: "ray" not in made.running(), "Ray's head ended")
    made.down()
    assert marked(mark) == set()
    assert not state.run_dir(root).exists()
