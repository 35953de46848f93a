"""One kind of objects in all namespaces that the operator serves: one watch for each, or one for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import reflector

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``path_of`` gives the collection's path in a namespace, or with None in all."""

    path_of: Callable[[str | None], str]
    selector: kubernetes.Selector


class Scoped(Generic[T]):
    """``view`` makes a value of an object, as in a reflector; each value is found by its namespace."""

    def __init__(
        self,
        api: reflector.WatchApi,
        namespaces: Sequence[str],
        kind: Kind,
        view: Callable[[Mapping[str, Any]], T],
        *,
        clock: Clock,
        on_change: Callable[[str | None], None],
    ) -> None:
        """Without ``namespaces`` it is all of them. ``on_change`` gets the namespace, None where it may be any."""
        self._on_change = on_change
        self._values: dict[str, dict[str, T]] = {}
        self._reflectors = {
            scope: reflector.Reflector(
                api,
                reflector.Collection(path=kind.path_of(scope), selector=kind.selector),
                view,
                clock=clock,
                on_change=self._notice(scope),
                key_of=reflector.qualified_name_of,
            )
            for scope in (namespaces or (None,))
        }

    async def run(self) -> None:
        """List and watch for ever."""
        await asyncio.gather(*(each.run() for each in self._reflectors.values()))

    def values(self, namespace: str) -> Mapping[str, T]:
        """The namespace's objects by name."""
        return self._values.get(namespace, {})

    def namespaces(self) -> frozenset[str]:
        """Every namespace with such an object."""
        return frozenset(self._values)

    def error(self, namespace: str) -> errors.FairleadError | None:
        """Why nothing is known of the namespace's objects: they were never listed, or nothing has come for long."""
        found = self._find(namespace)
        return found.error if found is not None else errors.Refused(f"namespace {namespace} is not served")

    def is_listed(self, namespace: str) -> bool:
        """Whether the objects were listed once."""
        found = self._find(namespace)
        return found is not None and found.is_listed

    def is_pending(self, namespace: str) -> bool:
        """Whether the first list is on its way."""
        found = self._find(namespace)
        return found is not None and not found.is_listed and found.error is None

    def _find(self, namespace: str) -> reflector.Reflector[T] | None:
        return self._reflectors.get(namespace) or self._reflectors.get(None)

    def _notice(self, scope: str | None) -> Callable[[str], None]:
        def note(key: str) -> None:
            namespace, _, name = key.partition("/")
            if not key:
                self._on_change(scope)
                return
            value = self._reflectors[scope].get(key)
            if value is not None:
                self._values.setdefault(namespace, {})[name] = value
            else:
                own = self._values.get(namespace, {})
                own.pop(name, None)
                if not own:
                    self._values.pop(namespace, None)
            self._on_change(namespace)

        return note


def items(values: Mapping[str, T]) -> Iterator[tuple[str, T]]:
    """By name."""
    return iter(sorted(values.items()))
