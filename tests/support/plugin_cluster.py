"""The plugin's view of a cluster, over the virtual world: what it asks is seen by the real planner."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Mapping
from typing import Any

from tests.support.virtual_world import NAMESPACE, VirtualWorld

from fairlead_cli.plugin import applying, cluster, errors
from fairlead_operator.api import names
from fairlead_operator.state import revision_data


class WorldCluster(cluster.Cluster):
    """``passes`` is how often the operator looks after a read that shows a request; ``forbidden`` refuses writes."""

    def __init__(self, world: VirtualWorld, *, passes: int = 1) -> None:
        self.world = world
        self.namespace = NAMESPACE
        self.passes = passes
        self.forbidden = False
        self.conflicts = 0
        """So many writes are refused for being late."""
        self.asked: list[Mapping[str, Any]] = []
        self.annotations: Mapping[str, str] | None = None
        """Those of each model; None: the stored spec is what `kubectl apply` applied last."""

    def model(self, name: str) -> Mapping[str, Any] | None:
        stored = self.world.models.get(name)
        if stored is None:
            return None
        metadata = {
            "name": name,
            "namespace": NAMESPACE,
            "uid": stored.uid,
            "generation": stored.generation,
            "resourceVersion": str(stored.resource_version),
            "annotations": {applying.ANNOTATION: json.dumps({"spec": stored.spec})}
            if self.annotations is None
            else dict(self.annotations),
        }
        body = copy.deepcopy({"metadata": metadata, "spec": stored.spec, "status": stored.status})
        request, handled = stored.status.get("request"), stored.status.get("handledRequest")
        if request and (not handled or handled["id"] != request["id"]):
            for _ in range(self.passes):
                self.world.pass_model(name)
        return body

    def revisions(self, name: str) -> list[Mapping[str, Any]]:
        stored = self.world.models[name]
        return [
            {
                "metadata": {
                    "name": kept.name,
                    "labels": {names.LABEL_MODEL: name, names.LABEL_REVISION: kept.revision},
                    "ownerReferences": [{"uid": stored.uid}],
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                },
                "revision": kept.number,
                "data": {"template": revision_data.template_to_json(kept.template)},
            }
            for kept in stored.revisions.values()
        ]

    def restart(self, name: str, at: datetime.datetime, *, resource_version: str) -> None:
        self._require_version(name, resource_version)
        self.world.change(name, "serving.restartedAt", at.isoformat())

    def ask(self, name: str, request: Mapping[str, Any], *, resource_version: str | None) -> None:
        if self.forbidden:
            raise errors.PluginError(f"You may not ask that of ModelDeployment {name}.")
        stored = self.world.models[name]
        if resource_version is not None:
            self._require_version(name, resource_version)
        datetime.datetime.fromisoformat(request["time"])
        stored.status["request"] = dict(request)
        stored.resource_version += 1
        self.asked.append(request)

    def _require_version(self, name: str, resource_version: str) -> None:
        if self.conflicts or resource_version != str(self.world.models[name].resource_version):
            self.conflicts -= 1
            raise errors.ConflictError("somebody else wrote")
