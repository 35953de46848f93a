"""The replica's port: the first free one of its revision's range. The bind is the lock."""

from __future__ import annotations

import errno
import socket

from fairlead_runtime.errors import LoadError, LoadReason

BACKLOG = 1024


def bind_first_free(host: str, first: int, count: int) -> socket.socket:
    """A listening socket; raises LoadError (NoFreePort) when all are taken.

    Bound and listening in one step: on Linux two sockets with SO_REUSEADDR may both bind a port as long as neither
    listens, so `listen` decides. SO_REUSEPORT is never set; two replicas would share a port without noticing.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, first + count):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise LoadError(LoadReason.NO_FREE_PORT, f"{host}:{port} can't be bound: {error.strerror}") from None
        else:
            listener.setblocking(False)
            return listener
    raise LoadError(LoadReason.NO_FREE_PORT, f"all ports from {first} to {first + count - 1} on {host} are taken")
