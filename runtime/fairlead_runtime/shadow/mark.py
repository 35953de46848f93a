"""The mark with which a gateway asks for a copy: `<host>:<port>/<candidate REV>`. Source: docs/contracts.md."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

HEADER = b"x-fairlead-shadow"
_FORM = re.compile(rb"(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})/([0-9a-f]{10})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where the copy goes: an address, never a name, and a revision. `host` is as a URL has it."""

    host: str
    port: int
    candidate: str


def parse(value: bytes) -> Mark | None:
    """The mark; None for anything that a gateway would not write."""
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    try:
        address = ipaddress.ip_address((found[1] or found[2]).decode())
    except ValueError:
        return None
    port = int(found[3])
    # Link-local holds the clouds' metadata services; none of these is an address at which a gateway is reached.
    if address.is_link_local or address.is_multicast or address.is_unspecified or not 0 < port < 65536:
        return None
    host = f"[{address}]" if address.version == 6 else str(address)
    return Mark(host=host, port=port, candidate=found[4].decode())
