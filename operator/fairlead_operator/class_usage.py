"""Which serving class and which revisions each model names, as the models' passes saw it last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

from fairlead_operator.api import names
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.observe import readers
from fairlead_operator.state import keys, observed


class ClassUsage:
    """None as a model's class: the default one. A model whose spec can't be read keeps the class that it had."""

    def __init__(self) -> None:
        self._classes: dict[str, dict[str, str | None]] = defaultdict(dict)
        self.on_change: Callable[[str], None] = readers.ignore
        """Gets the name of each namespace in which a model came, went, or chose another class."""
        self._placed: dict[str, dict[str, frozenset[str]]] = defaultdict(dict)
        self.on_places: Callable[[keys.ModelKey], None] = readers.ignore_model
        """Gets each model whose stable, candidate or leaving revisions changed."""

    def note(self, key: keys.ModelKey, view: observed.ModelDeploymentView) -> None:
        """A pass saw the object."""
        placed = frozenset(names.controller_revision(key.name, revision) for revision in view.serving.active)
        before, self._placed[key.namespace][key.name] = self._placed[key.namespace].get(key.name), placed
        if before is not None and before != placed:
            self.on_places(key)
        if not isinstance(view.spec, ModelDeploymentSpec):
            return
        models, chosen = self._classes[key.namespace], view.spec.cluster.class_name
        if key.name not in models or models[key.name] != chosen:
            models[key.name] = chosen
            self.on_change(key.namespace)

    def remove(self, key: keys.ModelKey) -> None:
        """The object is gone."""
        self._placed[key.namespace].pop(key.name, None)
        if not self._placed[key.namespace]:
            del self._placed[key.namespace]
        models = self._classes.get(key.namespace, {})
        if key.name in models:
            del models[key.name]
            if not models:
                del self._classes[key.namespace]
        self.on_change(key.namespace)

    def classes(self, namespace: str) -> Mapping[str, str | None]:
        """The class of each model of a namespace, by the model's name."""
        return self._classes.get(namespace, {})

    def placed(self, namespace: str) -> frozenset[str]:
        """The ControllerRevisions that models name as stable, as candidate, or as leaving."""
        return frozenset[str]().union(*self._placed.get(namespace, {}).values())

    def namespaces(self) -> frozenset[str]:
        """Every namespace with a model."""
        return frozenset(self._classes)
