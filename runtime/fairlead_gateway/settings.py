"""What a gateway is started with."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and port to listen on."""

    host: str
    port: int


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
