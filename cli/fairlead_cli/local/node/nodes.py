"""The nodes of a cluster: their numbers, and what the parts of each are called."""

from __future__ import annotations

import dataclasses
import datetime
import json

from fairlead_cli.local import errors


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`number` is 1 for the node with the control plane and the registry; other nodes are joined to its network."""

    number: int

    @property
    def name(self) -> str:
        """What Kubernetes calls it."""
        return f"node-{self.number}"

    @property
    def is_first(self) -> bool:
        return self.number == 1

    @property
    def suffix(self) -> str:
        """What the names of its parts, files and folders end with."""
        return "" if self.is_first else f"-{self.number}"

    def control_group(self, cluster: str) -> str:
        """Has all processes of its pods; that of the first node has those of the others below it."""
        return cluster if self.is_first else f"{cluster}/{self.name}"

    def part(self, program: str) -> str:
        """The name of the process that runs a program on it."""
        return f"{program}{self.suffix}"


FIRST = Node(number=1)


def all_of(count: int) -> tuple[Node, ...]:
    """The nodes of a cluster with so many."""
    return tuple(Node(number=number) for number in range(1, count + 1))


def program_of(part: str) -> tuple[Node, str]:
    """The reverse of `Node.part`."""
    program, _, number = part.rpartition("-")
    return (Node(number=int(number)), program) if number.isdecimal() else (FIRST, part)


def require_same_count(cluster: str, asked: int | None, present: int) -> None:
    """Refuse another number of nodes than the cluster was made with: the key that signs certificates is gone.

    Raises:
        LocalClusterError: the numbers differ.
    """
    if asked is not None and asked != present:
        raise errors.LocalClusterError(
            f"the local cluster {cluster!r} was started with `--nodes {present}`. To start it with `--nodes {asked}`,"
            f" remove it first: `fairlead local down --name {cluster}`"
        )


def is_ready(lease: str, node: str, since: datetime.datetime | None) -> bool:
    """Whether the kubelet says so, at `since` or later: the API shows for a while what an earlier one said last.

    `lease` and `node` are the objects as JSON.
    """
    renewed = datetime.datetime.fromisoformat(json.loads(lease)["spec"]["renewTime"])
    conditions = json.loads(node)["status"].get("conditions", ())
    says_so = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return says_so and (since is None or renewed >= since)
