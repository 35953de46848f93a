"""What should run on each Ray cluster, model by model, as the models' passes saw it last.

The write of a cluster's Serve config replaces all of it, so it needs every model's part; listing and parsing a thousand
models for each write would cost more than all their passes. A namespace is complete once every model that was listed
after the start has had a pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from fairlead_operator import class_usage
from fairlead_operator.state import keys, serve

Parts = Mapping[str, serve.ServeConfig]
"""A model's part of each Ray cluster, by the cluster's name."""


class Composition:
    """``None`` as a model's parts: nothing is known, so whatever runs for it must go on."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, Parts | None]] = defaultdict(dict)
        self._missing: dict[str, set[str]] = defaultdict(set)
        self._listed: set[str | None] = set()
        self.used = class_usage.ClassUsage()

    def expect(self, key: keys.ModelKey) -> None:
        """The model was listed."""
        if key.name not in self._parts[key.namespace]:
            self._missing[key.namespace].add(key.name)

    def is_awaited(self, key: keys.ModelKey) -> bool:
        """Whether the model was listed, and no pass has ended since."""
        return key.name in self._missing[key.namespace]

    def note_listed(self, namespace: str | None) -> None:
        """All models of a namespace (None: of all) were listed."""
        self._listed.add(namespace)

    def is_complete(self, namespace: str) -> bool:
        """Whether every model's part is there."""
        return not self._missing[namespace] and bool({None, namespace} & self._listed)

    def put(self, key: keys.ModelKey, parts: Parts | None) -> frozenset[str]:
        """A pass saw the model, or could not read it (None); the clusters for which that changes something."""
        before = self._parts[key.namespace].get(key.name)
        self._parts[key.namespace][key.name] = parts
        self._missing[key.namespace].discard(key.name)
        return _changed(before or {}, parts or {})

    def differs(self, key: keys.ModelKey, parts: Parts | None) -> bool:
        """Whether these parts are not the model's present ones."""
        return bool(_changed(self._parts[key.namespace].get(key.name) or {}, parts or {}))

    def note_unknown(self, key: keys.ModelKey) -> None:
        """A pass failed; what an earlier one saw still holds."""
        if key.name in self._missing[key.namespace]:
            self.put(key, None)

    def remove(self, key: keys.ModelKey) -> frozenset[str]:
        """The model is gone; the clusters for which that changes something."""
        self._missing[key.namespace].discard(key.name)
        return _changed(self._parts[key.namespace].pop(key.name, None) or {}, {})

    def parts_on(self, key: keys.RayKey) -> tuple[list[serve.ServeConfig], list[str]]:
        """The parts of a cluster, and the models of which nothing is known."""
        models = self._parts[key.namespace]
        known = [parts[key.cluster] for parts in models.values() if parts is not None and key.cluster in parts]
        return known, [name for name, parts in models.items() if parts is None]

    def has_models(self, namespace: str) -> bool:
        return bool(self._parts[namespace])

    def models(self, namespace: str) -> frozenset[str]:
        """Every model that a pass saw, or could not read."""
        return frozenset(self._parts[namespace])


def _changed(before: Parts, now: Parts) -> frozenset[str]:
    return frozenset(name for name in {*before, *now} if before.get(name) != now.get(name))
