"""ModelDeployments as the API server has them, from every moment of every scenario."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.scenarios import test_scenarios as scenarios
from tests.support.virtual_faults import Fault
from tests.support.virtual_objects import StoredModel
from tests.support.virtual_operator import nothing
from tests.support.virtual_world import VirtualWorld
from typing_extensions import override

from fairlead_operator.api import names
from fairlead_operator.state import actions

Object = Mapping[str, Any]
_MOMENT = ("phase", "candidateRevision", "previousStableRevision", "stableRevision")


class RecordingWorld(VirtualWorld):
    """Keeps a copy of the model after each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[Object] = []

    @override
    def pass_model(
        self, name: str, fault: Fault = Fault.NONE, meanwhile: Callable[[], object] = nothing
    ) -> actions.Plan:
        plan = super().pass_model(name, fault, meanwhile)
        if (stored := self.models.get(name)) is not None:
            self.recorded.append(as_object(self.namespace, name, stored))
        return plan


def as_object(namespace: str, name: str, stored: StoredModel) -> Object:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "uid": stored.uid,
        "generation": stored.generation,
        "resourceVersion": str(stored.resource_version),
    }
    if stored.deleting:
        metadata["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    whole = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": metadata, "spec": stored.spec}
    copied: Object = json.loads(json.dumps({**whole, "status": stored.status}))
    return copied


def _moment(found: Object) -> str:
    """What makes two objects the same to a tool that judges them: all but names, numbers and messages."""
    status, metadata = found["status"], found["metadata"]
    rollout = status.get("rollout") or {}
    return json.dumps(
        [
            {name: status.get(name) is not None for name in _MOMENT} | {"phase": status.get("phase")},
            [(each["type"], each["status"], each["reason"]) for each in status.get("conditions", ())],
            [rollout.get("phase"), rollout.get("pausedByRequest"), bool(status.get("quarantine"))],
            [status.get("observedGeneration") == metadata["generation"], "deletionTimestamp" in metadata],
            found["spec"].get("suspend", False),
        ]
    )


@functools.cache
def objects() -> tuple[Object, ...]:
    """One object for each moment that differs to a tool, over all scenarios."""
    found: dict[str, Object] = {}
    for story in scenarios.STORIES:
        world = RecordingWorld()
        for step in yaml.safe_load(Path(scenarios.FOLDER / f"{story}.in.yaml").read_text())["steps"]:
            scenarios.do(world, step)
            scenarios.run(world, step)
        for each in world.recorded:
            found.setdefault(_moment(each), each)
    return tuple(found.values())
