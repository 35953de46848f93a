"""The namespace's objects as the bench sees them: read again only once something of theirs was written.

A run looks ten times a second whether it has ended, and the API server is what a campaign waits for: looking must cost
it nothing. Whatever writes these objects passes a proxy, or is the bench itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.faults import kube

MODEL, REVISIONS, ROUTES = "model", "revisions", "routes"
WRITTEN_BY: Mapping[str, str] = {
    "status": MODEL,
    "finalizer": MODEL,
    "revision made": REVISIONS,
    "digest pinned": REVISIONS,
    "revision deleted": REVISIONS,
    "route": ROUTES,
    "route deleted": ROUTES,
}
OLDEST_S = 3.0
"""For what passes no proxy: a finalizer of the API server's own, the garbage collector."""

Body = dict[str, Any]
T = TypeVar("T")


@dataclass(slots=True)
class _Seen:
    writes: int = 0
    """Those that ended so far, whatever became of them."""
    as_of: int = -1
    at_s: float = 0.0
    body: Body | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Sight:
    """Safe to use from any thread."""

    def __init__(self, cluster: kube.Kube, paths: Mapping[str, str]) -> None:
        """``paths`` by what is at them."""
        self._kube = cluster
        self._paths = paths
        self._seen = {what: _Seen() for what in paths}

    def of(self, what: str) -> Body | None:
        """As it is since the last write that has ended. Nobody may change it."""
        seen = self._seen[what]
        with seen.lock:
            writes, now_s = seen.writes, time.monotonic()
            if seen.as_of != writes or now_s - seen.at_s > OLDEST_S:
                seen.body = self._kube.get(self._paths[what])
                seen.as_of, seen.at_s = writes, now_s
            return seen.body

    def wrote(self, write: str) -> None:
        """A write of this name has ended, in whatever way."""
        if (what := WRITTEN_BY.get(write)) is not None:
            self._seen[what].writes += 1

    def change(self, what: str, make: Callable[[], T]) -> T:
        """The bench's own write."""
        try:
            return make()
        finally:
            self._seen[what].writes += 1
