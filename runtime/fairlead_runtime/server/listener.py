"""The replica's port: a free one of its node's address, found through the node directory."""

from __future__ import annotations

import socket

from fairlead_runtime.errors import LoadError, LoadReason

BACKLOG = 1024


def bind_free_port(host: str) -> socket.socket:
    """A socket bound to a free port; raises LoadError (CannotListen). It listens only once it is served.

    Neither SO_REUSEADDR nor SO_REUSEPORT: two replicas could share a port without noticing.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.bind((host, 0))
    except OSError as error:
        bound.close()
        text = f"no port of FAIRLEAD_REPLICA_HOST, {host}, can be bound: {error.strerror}"
        raise LoadError(LoadReason.CANNOT_LISTEN, text) from None
    bound.setblocking(False)
    return bound
