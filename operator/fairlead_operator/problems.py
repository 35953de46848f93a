"""Why models can't get what they need in their namespace, as the namespaces' passes found it last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fairlead_operator.observe import readers
from fairlead_operator.state import keys
from fairlead_operator.state.infrastructure import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceProblems:
    """``shared`` is every model's; ``own`` are those of single models, by name."""

    shared: Problem | None = None
    own: Mapping[str, Problem] = field(default_factory=dict)


NONE = NamespaceProblems()


class Problems:
    """By namespace."""

    def __init__(self) -> None:
        self._found: dict[str, NamespaceProblems] = {}
        self.on_change: Callable[[str], None] = readers.ignore
        """Gets the name of each namespace with other problems than before."""

    def put(self, namespace: str, found: NamespaceProblems) -> None:
        """What a pass found."""
        if self._found.get(namespace, NONE) == found:
            return
        if found == NONE:
            del self._found[namespace]
        else:
            self._found[namespace] = found
        self.on_change(namespace)

    def find(self, key: keys.ModelKey) -> Problem | None:
        """The model's own problem, else the one that it shares."""
        found = self._found.get(key.namespace, NONE)
        return found.own.get(key.name) or found.shared

    def shared(self) -> Mapping[str, Problem]:
        """The problem that all models of a namespace share, by namespace."""
        return {name: found.shared for name, found in sorted(self._found.items()) if found.shared is not None}
