"""The namespaces that runs take turns in: to make one, with its accounts and roles, is a tenth of a run's work."""

from __future__ import annotations

import collections
import threading
import uuid

from tests.faults import kube

SPARE = 8
"""So many lie empty before one is taken again: what a dead operator had sent has arrived by then."""
_KINDS = (kube.MODELS, kube.REVISIONS, kube.ROUTES)


class Namespaces:
    """Safe to use from any thread."""

    def __init__(self, cluster: kube.Kube) -> None:
        self.kube = cluster
        self._lock = threading.Lock()
        self._idle: collections.deque[str] = collections.deque()

    def take(self) -> str:
        """An empty namespace: the one that was given back first, if it stayed empty, or a new one."""
        while (name := self._next()) is not None:
            if self._is_empty(name):
                return name
        name = f"f{uuid.uuid4().hex[:10]}"
        self.kube.make_namespace(name)
        return name

    def give_back(self, name: str) -> None:
        with self._lock:
            self._idle.append(name)

    def _next(self) -> str | None:
        with self._lock:
            return self._idle.popleft() if len(self._idle) > SPARE else None

    def _is_empty(self, name: str) -> bool:
        return not any((self.kube.get(kind.format(namespace=name)) or {}).get("items") for kind in _KINDS)
