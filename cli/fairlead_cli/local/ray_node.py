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

    def port(self, listener: str) -> str:
        """The name of the port of one of its listeners."""
        return f"{self.part}-{listener}"

    @property
    def directory(self) -> str:
        """The name of the port of its directory."""
        return self.port("directory")


HEAD = Node(part="ray", host="127.0.0.1")
WORKER = Node(part="worker", host="127.0.0.2")
SECOND = Node(part="second", host="127.0.0.1")
"""The head of a Ray cluster of its own, to which a model moves by `spec.cluster.class`."""


def node(part: str) -> Node:
    """The node that the part `ray`, `worker` or `second` is."""
    return {each.part: each for each in (HEAD, WORKER, SECOND)}[part]


def nodes(chosen: options.Options) -> tuple[Node, ...]:
    """The Ray nodes of a local cluster."""
    return (*(HEAD, WORKER)[: chosen.ray_nodes], *((SECOND,) if chosen.second_class else ()))


def cluster_of(node: Node, chosen: options.Options) -> str:
    """The Ray cluster that a node belongs to, as `spec.cluster.class` names it."""
    return chosen.second_class if node == SECOND else CLUSTER


def variables(node: Node, where: layout.Layout, ports: layout.Ports, chosen: options.Options) -> dict[str, str]:
    """The environment of a node's replicas."""
    return {
        "FAIRLEAD_CLUSTER": f"{chosen.namespace}/{cluster_of(node, chosen)}",
        "FAIRLEAD_REPLICA_HOST": node.host,
        "FAIRLEAD_NODE_FOLDER": str(where.node_folder(node.part)),
        "FAIRLEAD_NODE_DIRECTORY": _address(node, ports),
    }


def gateway_arguments(ports: layout.Ports, chosen: options.Options) -> tuple[str, ...]:
    """The nodes that the gateway asks for replicas."""
    return tuple(f"--node={cluster_of(node, chosen)}={_address(node, ports)}" for node in nodes(chosen))


def _address(node: Node, ports: layout.Ports) -> str:
    return f"{node.host}:{ports[node.directory]}"
