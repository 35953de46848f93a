"""The route table, one key a model: writing it moves traffic; that it moved is read, never assumed."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.state import actions, keys, route


@dataclasses.dataclass(slots=True)
class _Batch:
    """Keys that go out in one patch; None takes a key out."""

    data: dict[str, str | None] = dataclasses.field(default_factory=dict)
    is_done: bool = False
    error: errors.FairleadError | None = None


class RouteTables:
    """The route ConfigMaps, each model's key patched alone (docs/decisions/0003).

    Each patch makes the API server read, write and send out the whole table. So what is asked for while a patch of
    the same table is under way goes out together in the next one: a thousand models cost a few dozen patches.
    """

    def __init__(self, api: kubernetes.KubernetesClient, on_written: Callable[[str, Mapping[str, Any]], None]) -> None:
        """``on_written`` gets the namespace and the whole table as the API server has it after a write."""
        self._api = api
        self._on_written = on_written
        self._locks: dict[str, asyncio.Lock] = {}
        self._next: dict[str, _Batch] = {}

    async def write(self, key: keys.ModelKey, entry: route.RouteEntry) -> actions.Outcome:
        """Set the model's key."""
        await self._put(key, entry.to_json())
        return actions.Done()

    async def delete(self, key: keys.ModelKey) -> actions.Outcome:
        """Take the key out whoever else claims it; applying nothing would leave what a second manager owns."""
        await self._put(key, None)
        return actions.Done()

    async def _put(self, key: keys.ModelKey, text: str | None) -> None:
        batch = self._next.setdefault(key.namespace, _Batch())
        batch.data[key.name] = text
        async with self._locks.setdefault(key.namespace, asyncio.Lock()):
            if not batch.is_done:  # the first of the batch to come this far writes for all
                if self._next.get(key.namespace) is batch:
                    del self._next[key.namespace]
                try:
                    await self._patch(key.namespace, batch.data)
                except errors.FairleadError as error:
                    batch.error = error
                batch.is_done = True
        if batch.error is None:
            return
        if len(batch.data) == 1:
            raise batch.error
        # One key may be what was refused: none of the others has to wait for it.
        await self._patch(key.namespace, {key.name: text})

    async def _patch(self, namespace: str, data: dict[str, str | None]) -> None:
        try:
            self._on_written(namespace, await self._api.merge_patch(paths.routes(namespace), {"data": data}))
        except errors.NotFound:
            if all(text is None for text in data.values()):
                return
            await self._create_table(namespace)
            self._on_written(namespace, await self._api.merge_patch(paths.routes(namespace), {"data": data}))

    async def _create_table(self, namespace: str) -> None:
        """An apply without data: two models that both find no table can't undo each other's keys."""
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": names.ROUTE_CONFIG_MAP, "namespace": namespace},
        }
        await self._api.apply(paths.routes(namespace), body, field_manager=names.FIELD_MANAGER)
