"""What is known of all nodes: each one's last good answer, and since when it can't be read."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairlead_gateway.nodes.directory import Answer, Replica
from fairlead_gateway.settings import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One node. `answer` is its last good one, None before the first; `reason` says why it can't be read now.

    `is_asked` says whether it has answered, or failed so often that the gateway doesn't wait for it.
    """

    node: Node
    answer: Answer | None = None
    answered_at: float = 0.0
    is_asked: bool = False
    reason: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the last read of the node succeeded."""
        return self.answer is not None and self.reason is None

    def body(self) -> dict[str, str | int | float | None]:
        """As `/v1/routes` shows it."""
        return {
            "cluster": self.node.cluster,
            "address": self.node.address,
            "state": "Known" if self.is_known else "Unknown",
            "reason": self.reason if self.reason is not None or self.answer else "it has not been asked yet",
            "ageSeconds": round(time.monotonic() - self.answered_at, 1) if self.answer is not None else None,
            "replicas": len(self.answer.replicas) if self.answer is not None else 0,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A replica and the node that listed it."""

    node: Node
    replica: Replica


class Knowledge:
    """The views of all nodes that are listed now."""

    def __init__(self) -> None:
        self._views: dict[Node, View] = {}
        self.is_listed = False

    @property
    def views(self) -> Sequence[View]:
        """The current view of each node."""
        return tuple(self._views.values())

    def set_nodes(self, nodes: Iterable[Node]) -> None:
        """Replace the list of nodes. What was known of other nodes is forgotten, because they are gone."""
        self._views = {node: self._views.get(node, View(node=node)) for node in nodes}
        self.is_listed = True

    def keep(self, view: View) -> None:
        """Take what was learned of a node that is still listed."""
        if view.node in self._views:
            self._views[view.node] = view

    def is_asked(self) -> bool:
        """Whether each node has answered, or failed so often that the gateway doesn't wait for it."""
        return self.is_listed and all(view.is_asked for view in self._views.values())

    def replicas(self) -> Iterator[Found]:
        """What every node said last. A name that two nodes of a cluster list is one node's: the first one's."""
        seen: set[tuple[str, str]] = set()
        for view in self._views.values():
            for name, replica in (view.answer.replicas if view.answer else {}).items():
                if (key := (view.node.cluster, name)) not in seen:
                    seen.add(key)
                    yield Found(node=view.node, replica=replica)

    def silent(self) -> Mapping[str, frozenset[str]]:
        """The hosts, by cluster, of nodes that have not answered yet: nothing there is known to be gone."""
        hosts: dict[str, set[str]] = {}
        for view in self._views.values():
            if view.answer is None:
                hosts.setdefault(view.node.cluster, set()).add(view.node.host)
        return {cluster: frozenset(found) for cluster, found in hosts.items()}
