"""The addresses of a name, looked up with a bound."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any

Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


def look_up(host: str, port: int, timeout_s: float) -> Sequence[Found]:
    """The addresses of a name; raises OSError. The system's resolver can take minutes where no server answers."""
    answer: Future[Sequence[Found]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError, OverflowError) as error:
            answer.set_exception(error)

    # Left behind where the time is over: nothing ends it, and it ends by itself.
    Thread(target=ask, daemon=True, name="resolve").start()
    try:
        return answer.result(timeout_s)
    except TimeoutError:
        raise OSError(f"no address for {host} within {timeout_s:g} s") from None
