"""The ServingClasses of the cluster, as a watch keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from fairlead_operator.api import serving_class as api
from fairlead_operator.api.status import Condition
from fairlead_operator.clients import errors, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import reflector
from fairlead_operator.state import knowledge, serving_class


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassView:
    """An object as it is stored. ``content`` is a sentence where it can't be read."""

    name: str
    generation: int
    resource_version: str
    content: serving_class.StoredClass | str
    conditions: tuple[Condition, ...]


class ServingClasses:
    """What is known of all classes; nothing here waits for the network."""

    def __init__(self, api_: reflector.WatchApi, *, clock: Clock) -> None:
        self.listeners: list[Callable[[], None]] = []
        """Each is called after each change, and once all are known."""
        self._reflector = reflector.Reflector(
            api_,
            reflector.Collection(path=paths.serving_classes()),
            _view,
            clock=clock,
            on_change=self._note,
        )

    def _note(self, _name: str) -> None:
        for listener in self.listeners:
            listener()

    async def run(self) -> None:
        """List and watch for ever."""
        await self._reflector.run()

    def is_pending(self) -> bool:
        """Whether the first answer is still to come."""
        return not self._reflector.is_listed and self._reflector.error is None

    def unlisted(self) -> errors.FairleadError | None:
        """Why they were never listed; None once they were."""
        if self._reflector.is_listed:
            return None
        return self._reflector.error or errors.RetryLater("they were not read yet")

    def views(self) -> Mapping[str, ClassView]:
        """Every object that is known, by name."""
        return self._reflector.values

    def wrote(self, body: Mapping[str, Any]) -> None:
        """The answer to a write of ours."""
        self._reflector.wrote(body)

    def known(self) -> knowledge.Known[Mapping[str, serving_class.StoredClass]] | knowledge.Unknown:
        """The classes that can be read, by name."""
        if (error := self._reflector.error) is not None:
            return knowledge.Unknown(errors.cause_of(error))
        if not self._reflector.is_listed:
            return knowledge.Unknown("the serving classes were not read yet")
        views = self._reflector.values.values()
        return knowledge.Known({view.name: view.content for view in views if not isinstance(view.content, str)})


def _view(body: Mapping[str, Any]) -> ClassView:
    metadata = body["metadata"]
    return ClassView(
        name=metadata["name"],
        generation=metadata.get("generation", 0),
        resource_version=metadata["resourceVersion"],
        content=_content(body),
        conditions=_conditions(body),
    )


def _content(body: Mapping[str, Any]) -> serving_class.StoredClass | str:
    metadata = body["metadata"]
    try:
        spec = api.ServingClassSpec.model_validate(body.get("spec") or {})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(['spec', *map(str, first['loc'])])}: {first['msg']}"
    return serving_class.StoredClass(
        name=metadata["name"],
        created_at=metadata.get("creationTimestamp") or "",
        is_default=spec.default,
        content=serving_class.from_spec(metadata["name"], spec),
    )


def _conditions(body: Mapping[str, Any]) -> tuple[Condition, ...]:
    """What can't be read is written once more."""
    try:
        return api.ServingClassStatus.model_validate(body.get("status") or {}).conditions
    except pydantic.ValidationError:
        return ()
