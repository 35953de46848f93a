"""The Ray nodes of a local cluster as a gateway asks them."""

from __future__ import annotations

import http.client
import pathlib
from typing import Any

from tests.support import node_members

from fairlead_cli.local import cluster, ray_node
from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.discovery import entry

PARTS = ("ray", "worker")
TRIES = 20


def node(local: cluster.LocalCluster, part: str = "ray") -> NodeEnvironment:
    """The node that the part `ray` or `worker` is."""
    found = ray_node.node(part)
    return NodeEnvironment(
        cluster=f"{local.namespace}/{ray_node.CLUSTER}",
        replica_host=found.host,
        folder=local.node_folder(part),
        directory_host=found.host,
        directory_port=local.ports[found.directory],
    )


def nodes(local: cluster.LocalCluster) -> list[NodeEnvironment]:
    """Those that the cluster has."""
    return [node(local, part) for part in PARTS if ray_node.node(part).directory in local.ports]


def listed(local: cluster.LocalCluster, part: str = "ray") -> tuple[dict[str, Any], ...]:
    """The replicas of a node, each with its `host`; none where nobody listens at its address."""
    if ray_node.node(part).directory not in local.ports:
        return ()
    asked = node(local, part)
    for _ in range(TRIES):
        try:
            answer = node_members.ask(asked, timeout_s=2)
        except ConnectionRefusedError:
            return ()
        except (OSError, http.client.HTTPException):
            continue  # the process that got the connection has just ended, or hangs
        assert answer.cluster == asked.cluster, "another cluster answers at this address"
        return tuple({**each, "host": asked.replica_host} for each in answer.replicas)
    raise AssertionError(f"nobody answers at {asked.directory_host}:{asked.directory_port}")


def pid(local: cluster.LocalCluster, replica: dict[str, Any]) -> int:
    """The process of a listed replica: the one that holds its file's lock. Source: proc_locks(5)."""
    (folder,) = (local.node_folder(part) for part in PARTS if ray_node.node(part).host == replica["host"])
    inode = (folder / entry.file_name(replica["name"], entry.State(replica["state"]))).stat().st_ino
    locks = (line.split() for line in pathlib.Path("/proc/locks").read_text().splitlines())
    (found,) = {int(each[4]) for each in locks if each[1] == "FLOCK" and each[5].endswith(f":{inode}")}
    return found
