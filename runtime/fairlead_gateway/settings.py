"""What a gateway is started with."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and port to listen on."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Ray node: its cluster's name within the namespace, and where its directory answers."""

    cluster: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """`HOST:PORT`, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One gateway: where it listens, where it keeps its state, where its routes come from."""

    listen: Address
    admin: Address
    state_dir: Path
    namespace: str
    kubeconfig: Path | None
    routes_file: Path | None
    haproxy: Path
    gateway_id: str
    nodes: tuple[Node, ...] = ()
    discover_nodes: bool = False
    threads: int = 1
    max_connections: int = 4000
    relist_s: float = 120.0
    pass_interval_s: float = 5.0
    stop_grace_s: float = 30.0
    stop_delay_s: float = 5.0


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`.

    Raises:
        ValueError: when the text has another form or the port is not 1 to 65535.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 1 to 65535")
    return Address(host=host.strip("[]"), port=int(port))


def parse_node(text: str) -> Node:
    """Read `CLUSTER=HOST:PORT`.

    Raises:
        ValueError: when the text has another form; the host must be an IP address.
    """
    cluster, _, address = text.partition("=")
    host, _, port = address.rpartition(":")
    if CLUSTER_NAME.fullmatch(cluster) is None or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not CLUSTER=HOST:PORT with a port from 1 to 65535")
    try:
        found = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise ValueError(f"{text!r}: the host must be an IP address, not a name") from None
    return Node(cluster=cluster, host=str(found), port=int(port))
