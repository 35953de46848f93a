"""What must hold at every write, looked at before it is passed on: the world is as the operator left it till then."""

from __future__ import annotations

from typing import Any

from tests.faults.bench import Bench
from tests.faults.place import MODEL
from tests.faults.script import Write

FULL_WEIGHT = 10000


class Witness:
    """Raises AssertionError at the first write that breaks an invariant."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._generation = 0

    def look(self, write: Write) -> None:
        match write.name:
            case "route":
                self._look_at_route(write.document())
            case "route deleted":
                self._look_at_deleted_route()
            case "serve config":
                self._look_at_config(write.document())
            case "status":
                self._look_at_status(write.document())
            case "finalizer":
                self._look_at_finalizers(write.document())

    def _look_at_route(self, document: dict[str, Any]) -> None:
        entry: Any = document["spec"]
        before, after = weights(self._bench.gateway.entries().get(MODEL)), weights(entry)
        assert sum(after.values()) in (0, FULL_WEIGHT), f"weights sum to {sum(after.values())}"
        assert set(after) <= set(entry.get("revisions", ())), f"a weight without a backend: {entry}"
        for revision, weight in after.items():
            if weight > before.get(revision, 0):
                running = self._bench.ray.running_now(self._application(revision))
                assert running > 0, f"{revision} is raised to {weight} without a ready replica"

    def _look_at_deleted_route(self) -> None:
        assert self._bench.routes()[MODEL].get("retired") is True, "deletes a route that is not retired"
        held = self._bench.gateway.entries().get(MODEL, {"retired": True})
        assert held.get("retired") is True, "deletes a route that the gateway has not confirmed as retired"

    def _look_at_config(self, document: dict[str, Any]) -> None:
        desired = {application["name"]: application for application in document["applications"]}
        assert len(desired) <= 2, f"more than two revisions shall run: {sorted(desired)}"
        for revision, weight in weights(self._bench.gateway.entries().get(MODEL)).items():
            if weight > 0:
                assert self._application(revision) in desired, f"stops {revision}, which gets {weight}"

    def _look_at_status(self, document: dict[str, Any]) -> None:
        status = document["status"]
        generation = status.get("observedGeneration", self._generation)
        assert generation >= self._generation, "observedGeneration goes back"
        self._generation = generation

    def _look_at_finalizers(self, document: dict[str, Any]) -> None:
        if document["metadata"]["finalizers"]:
            return
        assert MODEL not in self._bench.gateway.entries(), "lets go of the object while it has a route"
        assert not self._bench.ray.applications(), "lets go of the object while Ray runs its replicas"

    def _application(self, revision: str) -> str:
        return f"{self._bench.namespace}--{MODEL}--{revision}"


def weights(entry: dict[str, Any] | None) -> dict[str, int]:
    """Shares of unpinned requests by revision, those of 0 left out."""
    if entry is None or "stable" not in entry:
        return {}
    share = entry.get("candidateWeight", 0) if "candidate" in entry else 0
    shares = {entry["stable"]: FULL_WEIGHT - share, **({entry["candidate"]: share} if "candidate" in entry else {})}
    return {revision: weight for revision, weight in shares.items() if weight > 0}
