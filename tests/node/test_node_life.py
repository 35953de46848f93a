"""The node's life: up twice, parts killed, killed in the middle, taken down whole."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

from tests.node import pods
from tests.support.until import until

from fairlead_cli.local import process_table, state
from fairlead_cli.local.node import cgroups, cluster, parts, sandbox

UP = """
import pathlib, sys
from fairlead_cli.local.node import cluster
cluster.NodeCluster("own", pathlib.Path(sys.argv[1])).up()
"""


def remains(root: pathlib.Path) -> dict[str, list[str]]:
    """What a node left on this machine, by kind; a kind without leftovers is omitted."""
    short = state.run_dir(root).name[-8:]
    mounts = set()
    for each in process_table.entries():
        try:
            text = pathlib.Path(f"/proc/{each.identity.pid}/mountinfo").read_text()
        except OSError:
            continue
        mounts |= {line for line in text.splitlines() if str(root) in line}
    found = {
        "interfaces": [each.name for each in pathlib.Path("/sys/class/net").iterdir() if short in each.name],
        "processes": [str(each.pid) for each in cgroups.processes(f"fairlead-{short}")],
        "groups": [str(each) for each in cgroups.groups(f"fairlead-{short}")],
        "mounts": sorted(mounts),
        "files": [str(each) for each in (root, state.run_dir(root)) if each.exists()],
        "routes": [line for line in _routes() if short in line],
    }
    return {kind: each for kind, each in found.items() if each}


def _routes() -> list[str]:
    return subprocess.run(["ip", "route"], capture_output=True, text=True, check=True).stdout.splitlines()


def marked(root: pathlib.Path) -> frozenset[int]:
    """The processes that carry the cluster's mark."""
    found = state.State.read(root / "state.json")
    mark = f"FAIRLEAD_LOCAL_MARK={found.mark}".encode() if found else b"\0none"
    living = [each.identity.pid for each in process_table.entries() if not each.is_zombie]
    return frozenset(pid for pid in living if process_table.has_mark(pid, mark))


def test_up_again_changes_nothing(node: cluster.NodeCluster) -> None:
    before = {part: node.pid(part) for part in parts.TABLE}
    node.up()
    assert {part: node.pid(part) for part in parts.TABLE} == before


def test_pods_outlive_the_node_s_programs(node: cluster.NodeCluster) -> None:
    pods.apply(node, pods.web(node, "kept"), namespace="kept")
    asked = (
        "get",
        "pods",
        "--namespace=kept",
        "--output=jsonpath={.items[*].metadata.uid}{.items[*].status..startedAt}",
    )
    before = pods.run(node, *asked)
    for part in ("kubelet", "containerd", "kube-proxy", "kube-apiserver", "registry"):
        os.kill(node.pid(part), signal.SIGKILL)
        until(lambda part=part: not node.states()[part], f"{part} to be dead")  # type: ignore[misc]
    node.up()
    assert all(node.states().values())
    assert pods.run(node, *asked) == before


def test_down_leaves_nothing_of_a_node_with_pods(own_node: cluster.NodeCluster) -> None:
    own_node.up()
    pods.apply(own_node, pods.web(own_node, "left", replicas=2), namespace="left")
    own = marked(own_node.root)
    assert {"interfaces", "processes", "groups", "mounts", "files"} <= set(remains(own_node.root))
    # With what holds the namespaces gone, nothing but records and the control group leads to the rest.
    os.kill(own_node.pid(sandbox.HOLDER), signal.SIGKILL)
    own_node.down()
    assert remains(own_node.root) == {}
    assert not [pid for pid in own if pathlib.Path(f"/proc/{pid}").exists()]


def test_what_a_killed_up_left_is_taken_down(own_node: cluster.NodeCluster) -> None:
    killed = subprocess.Popen([sys.executable, "-c", UP, str(own_node.root)], stdout=subprocess.DEVNULL)
    until(lambda: own_node.states().get("kubelet"), "a node that is half up", deadline_s=240)
    killed.kill()
    killed.wait()
    assert remains(own_node.root)
    own_node.down()
    assert remains(own_node.root) == {}


def test_a_killed_up_is_gone_on_with_from_the_beginning(own_node: cluster.NodeCluster) -> None:
    killed = subprocess.Popen([sys.executable, "-c", UP, str(own_node.root)], stdout=subprocess.DEVNULL)
    until(lambda: own_node.states().get("kube-apiserver"), "a node that is half up", deadline_s=240)
    killed.kill()
    killed.wait()
    left = marked(own_node.root)
    own_node.up()
    assert not left & marked(own_node.root)
    assert all(own_node.states().values())
