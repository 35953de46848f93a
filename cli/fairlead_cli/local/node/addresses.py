"""The addresses of a node's cluster: one block of 65,536 for the node, its services and its pods."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import subprocess
from collections.abc import Iterable
from typing import Any

from fairlead_cli.local import errors

# 10.64 to 10.127: clear of what container engines and cloud networks take by default.
_BLOCKS = range(64, 128)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """`block` is the second number of all of them.

    The machine and the first node are the two ends of a veth, and so are the first node and each other one.
    """

    block: int

    @property
    def all(self) -> str:
        return f"10.{self.block}.0.0/16"

    @property
    def host(self) -> str:
        return self.near_end(1)

    @property
    def node(self) -> str:
        """The first node's."""
        return self.node_address(1)

    @property
    def nodes(self) -> str:
        """All ends of veths."""
        return f"10.{self.block}.0.0/24"

    def node_address(self, number: int) -> str:
        """The address of a node, by its number from 1."""
        return f"10.{self.block}.0.{4 * number - 2}"

    def near_end(self, number: int) -> str:
        """The other end of that node's veth: the machine's for the first node, else the first node's."""
        return f"10.{self.block}.0.{4 * number - 3}"

    def pods_of(self, number: int) -> str:
        """The addresses of the pods on a node: a quarter of all."""
        return f"10.{self.block}.{96 + 32 * number}.0/19"

    @property
    def services(self) -> str:
        return f"10.{self.block}.64.0/18"

    @property
    def api_service(self) -> str:
        """`kubernetes.default`: the first address of the range."""
        return f"10.{self.block}.64.1"

    @property
    def dns_service(self) -> str:
        return f"10.{self.block}.64.10"

    @property
    def pods(self) -> str:
        return f"10.{self.block}.128.0/17"


def choose() -> Addresses:
    """The first block that no address and no route of this machine is in.

    Raises:
        LocalClusterError: all are taken.
    """
    return free(_used_networks())


def free(used: Iterable[str]) -> Addresses:
    """The first block that overlaps none of these networks (`ADDRESS/LENGTH`); see `choose`."""
    taken = [ipaddress.ip_network(each, strict=False) for each in used]
    for block in _BLOCKS:
        found = Addresses(block=block)
        network = ipaddress.ip_network(found.all)
        if not any(network.overlaps(each) for each in taken if each.version == 4 and each.prefixlen > 0):
            return found
    raise errors.LocalClusterError(
        f"this machine has routes to all of 10.{_BLOCKS.start}.0.0 to 10.{_BLOCKS[-1]}.255.255"
    )


def _used_networks() -> list[str]:
    found = [each["dst"] for each in _ip("route", "show", "table", "all") if each["dst"] != "default"]
    for interface in _ip("address", "show"):
        found += [f"{each['local']}/{each['prefixlen']}" for each in interface["addr_info"]]
    return found


def _ip(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(["ip", "-json", "-4", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise errors.LocalClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return list(json.loads(done.stdout or "[]"))
