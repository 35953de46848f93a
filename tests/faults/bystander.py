"""The model of the second namespace, which has the same name and the same operator: no fault of a story is its own.

When the fault strikes, a person scales it. So its passes have to go on, and nothing but that scaling may be done to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.faults.place import MODEL, Place
from tests.faults.script import Write

SPEC: Mapping[str, Any] = {"model": {"uri": "file:///models/bystander"}}
REPLICAS = 2
_MAY_BE_WRITTEN = frozenset({"status", "event"})


def scale(place: Place) -> None:
    place.change({"scaling": {"replicas": REPLICAS}})


def is_scaled(place: Place) -> bool:
    """Whether what was asked for is done and reported."""
    body = place.model() or {}
    status: dict[str, Any] = body.get("status") or {}
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    return (
        status.get("observedGeneration") == body["metadata"]["generation"]
        and (conditions.get("Reconciling"), conditions.get("Ready")) == ("False", "True")
        and place.ray.running(f"{place.namespace}--{MODEL}--{status['stableRevision']}") == REPLICAS
    )


def touches(writes: Iterable[Write], configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was done to it besides: ``configs`` are those that its Ray was given, the one before the story first."""
    found = [f"the bystander's {w.name} is written: {w.path}" for w in writes if w.name not in _MAY_BE_WRITTEN]
    known, *put = [_without_replicas(config) for config in configs]
    return [*found, *(f"the bystander's Ray is given {config}, not {known}" for config in put if config != known)]


def _without_replicas(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The number of replicas may change, and nothing else of any application."""
    return [
        {**application, "deployments": [{**d, "num_replicas": None} for d in application["deployments"]]}
        for application in config["applications"]
    ]
