"""The pass over one serving class: its condition is computed, and written where it differs."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator import class_usage, problems
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import serving_classes
from fairlead_operator.state import keys, serving_class
from fairlead_operator.status import serving_class as status


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPass:
    api: kubernetes.KubernetesClient
    classes: serving_classes.ServingClasses
    used: class_usage.ClassUsage
    problems: problems.Problems
    clock: Clock

    async def run(self, key: keys.ClassKey) -> None:
        """Write the condition, guarded by the version of the object that it is about.

        Raises:
            errors.FairleadError: It could not be written.
        """
        view = self.classes.views().get(key.name)
        if view is None:
            return
        condition = status.settle(self._observe(view), self.clock.now())
        if condition in view.conditions:
            return
        shown = {
            "observedGeneration": view.generation,
            "conditions": [condition.model_dump(mode="json", by_alias=True, exclude_none=True)],
        }
        body = {"metadata": {"resourceVersion": view.resource_version}, "status": shown}
        try:
            self.classes.wrote(await self.api.merge_patch(f"{paths.serving_classes(key.name)}/status", body))
        except errors.NotFound:
            return

    def _observe(self, view: serving_classes.ClassView) -> status.ObservedClass:
        stored = {
            each.name: each.content for each in self.classes.views().values() if not isinstance(each.content, str)
        }
        using = {
            name: found for name, found in self.problems.shared().items() if self._is_used(view.name, name, stored)
        }
        return status.ObservedClass(
            name=view.name,
            generation=view.generation,
            unreadable=view.content if isinstance(view.content, str) else None,
            workers_min=None if isinstance(view.content, str) else view.content.content.workers_min,
            defaults=[each.name for each in serving_class.find_defaults(stored.values())],
            problems=using,
            conditions=view.conditions,
        )

    def _is_used(self, name: str, namespace: str, stored: dict[str, serving_class.StoredClass]) -> bool:
        chosen = (serving_class.find_class(stored, each) for each in set(self.used.classes(namespace).values()))
        return any(class_ is not None and class_.name == name for class_ in chosen)
