"""What a Ray node says of itself to the replicas on it, and where gateways ask for them.

Source: docs/contracts.md, "Replica discovery".
"""

from __future__ import annotations

import dataclasses

from fairlead_cli.local import layout, options

CLUSTER = "default"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Ray node: the part of the local cluster that it is, and the address that it has for itself."""

    part: str
    host: str

    @property
    def directory(self) -> str:
        """The name of the port of its directory."""
        return f"{self.part}-directory"


HEAD = Node(part="ray", host="127.0.0.1")
WORKER = Node(part="worker", host="127.0.0.2")


def node(part: str) -> Node:
    """The node that the part `ray` or `worker` is."""
    return {each.part: each for each in (HEAD, WORKER)}[part]


def nodes(chosen: options.Options) -> tuple[Node, ...]:
    """The Ray nodes of a cluster."""
    return (HEAD, WORKER)[: chosen.ray_nodes]


def variables(node: Node, where: layout.Layout, ports: layout.Ports, chosen: options.Options) -> dict[str, str]:
    """The environment of a node's replicas."""
    return {
        "FAIRLEAD_CLUSTER": f"{chosen.namespace}/{CLUSTER}",
        "FAIRLEAD_REPLICA_HOST": node.host,
        "FAIRLEAD_NODE_FOLDER": str(where.node_folder(node.part)),
        "FAIRLEAD_NODE_DIRECTORY": _address(node, ports),
    }


def gateway_arguments(ports: layout.Ports, chosen: options.Options) -> tuple[str, ...]:
    """The nodes that the gateway asks for replicas."""
    return tuple(f"--node={CLUSTER}={_address(node, ports)}" for node in nodes(chosen))


def _address(node: Node, ports: layout.Ports) -> str:
    return f"{node.host}:{ports[node.directory]}"
