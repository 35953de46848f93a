"""A handful of Kubernetes objects with names, versions and uids, behind the verbs of our client."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from typing import Any

from tests.support import merge_patch

from fairlead_operator.clients import errors


class FakeObjects:
    """Stores what it is given; refuses what a real API server would refuse for being old or there already."""

    def __init__(self) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.error: errors.FairleadError | None = None
        """Raised by the next write."""
        self._versions = itertools.count(1)
        self._applied: dict[tuple[str, str], frozenset[str]] = {}

    async def get(self, path: str) -> dict[str, Any]:
        if path not in self.stored:
            raise errors.NotFound(path)
        return copy.deepcopy(self.stored[path])

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._begin(f"create {path}")
        name = f"{path}/{body['metadata']['name']}"
        if name in self.stored:
            raise errors.AlreadyExists(name)
        return self._store(name, {**body, "metadata": {**body["metadata"], "uid": f"uid-{next(self._versions)}"}})

    async def merge_patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._begin(f"patch {path}")
        stored = self.stored.get(path.removesuffix("/status"))
        if stored is None:
            raise errors.NotFound(path)
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if wanted is not None and wanted != stored["metadata"]["resourceVersion"]:
            raise errors.Conflict(path)
        return self._store(path.removesuffix("/status"), merge_patch.merged(stored, body))

    async def apply(self, path: str, body: Mapping[str, Any], *, field_manager: str) -> dict[str, Any]:
        """What the manager applied before and leaves out now is taken away, at the top of ``spec`` alone."""
        self._begin(f"apply {path} as {field_manager}")
        before, spec = self._applied.get((path, field_manager), frozenset()), body.get("spec") or {}
        self._applied[path, field_manager] = frozenset(spec)
        dropped = dict.fromkeys(before - set(spec))
        stored = merge_patch.merged(self.stored.get(path, {"metadata": {}}), {"spec": dropped} if dropped else {})
        return self._store(path, merge_patch.merged(stored, body))

    async def delete(self, path: str, *, uid: str, resource_version: str | None = None) -> None:
        self._begin(f"delete {path} {uid}")
        metadata = self.stored[path]["metadata"] if path in self.stored else {}
        if metadata.get("uid") == uid and resource_version in (None, metadata["resourceVersion"]):
            del self.stored[path]

    def _begin(self, write: str) -> None:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        self.writes.append(write)

    def _store(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads(json.dumps(body))
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self.stored[path] = stored
        return copy.deepcopy(stored)
