"""The mark with which a gateway asks for a copy: `<host>:<port>/<candidate REV>`. Source: docs/contracts.md."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

HEADER = b"x-fairlead-shadow"
# The host is not read: a copy goes to the address that the marked request came from, and nowhere else.
_FORM = re.compile(rb"(?:\[[0-9a-fA-F:.]{2,45}\]|[0-9.]{7,15}):([0-9]{1,5})/([0-9a-f]{10})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Which port of the gateway takes the copy, and for which revision it is."""

    port: int
    candidate: str


def parse(value: bytes) -> Mark | None:
    """The mark; None for anything that a gateway would not write."""
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    port = int(found[1])
    return Mark(port=port, candidate=found[2].decode()) if 0 < port < 65536 else None


def url_host(peer: str) -> str | None:
    """The address of a connection's other end as a URL has it; None for one that no gateway has."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return None
    if address.version == 6:
        # A socket that listens on both families shows IPv4 peers in this form.
        address = address.ipv4_mapped or address
    # A link-local address needs a zone, which a URL can't carry.
    if address.is_link_local:
        return None
    return f"[{address}]" if address.version == 6 else str(address)
