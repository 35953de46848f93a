"""The views of the namespaces that the operator works in, each with its background reads."""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Generic, Protocol, TypeVar


class View(Protocol):
    def stop(self) -> None: ...


V = TypeVar("V", bound=View)


class Namespaces(Generic[V]):
    """A view begins to read when it is first asked for, and ends when nothing in its namespace needs it."""

    def __init__(self, make: Callable[[str], V]) -> None:
        self._make = make
        self._views: dict[str, V] = {}

    def get(self, namespace: str) -> V:
        if namespace not in self._views:
            self._views[namespace] = self._make(namespace)
        return self._views[namespace]

    def known(self, namespace: str | None) -> frozenset[str]:
        """The namespaces that are read; where one is named, that one alone."""
        return frozenset(self._views if namespace is None else self._views.keys() & {namespace})

    def keep_only(self, needed: Set[str]) -> None:
        """End the views of all other namespaces: their last model is gone, perhaps with the namespace."""
        for namespace in self._views.keys() - needed:
            self._views.pop(namespace).stop()
