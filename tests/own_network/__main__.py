"""``python -m tests.own_network [ARGUMENTS OF PYTEST]``: the tests of this folder in a network namespace of their own.

They listen at an address that isn't loopback, because the API server refuses loopback addresses in EndpointSlices. Here
that address is one of the namespace's own loopback interface, which nothing outside the namespace reaches.

It needs root or user namespaces.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

import pytest
from tests.support.endpoint_slices import OWN_ADDRESS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "tests/own_network"
INSIDE = "--inside"
# Source: netdevice(7); the numbers are those of linux/sockios.h and linux/if.h.
_GET_FLAGS, _SET_FLAGS, _SET_ADDRESS, _UP = 0x8913, 0x8914, 0x8916, 0x1
_FLAGS = struct.Struct("16sH22x")
_ADDRESS = struct.Struct("16sHH4s16x")


def main(arguments: list[str]) -> int:
    if arguments[:1] == [INSIDE]:
        _set_up()
        return int(pytest.main([FOLDER, *arguments[1:]]))
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    inside = [sys.executable, "-m", "tests.own_network", INSIDE, *arguments]
    os.execvp("unshare", ["unshare", *user, "--net", "--", *inside])


def _set_up() -> None:
    """The loopback interface with both addresses; a new namespace has it, but down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        _, flags = _FLAGS.unpack(fcntl.ioctl(asked, _GET_FLAGS, _FLAGS.pack(b"lo", 0)))
        if flags & _UP:
            raise SystemExit(f"{INSIDE} is for the new namespace alone: here the loopback interface is up already")
        fcntl.ioctl(asked, _SET_FLAGS, _FLAGS.pack(b"lo", flags | _UP))
        address = _ADDRESS.pack(b"lo:own", socket.AF_INET, 0, socket.inet_aton(OWN_ADDRESS))
        fcntl.ioctl(asked, _SET_ADDRESS, address)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
