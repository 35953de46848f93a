"""The stories: how each is set up, what is done, and when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.bench import Bench
from tests.faults.clients import Clients, Part
from tests.faults.place import MODEL, Place

ONE, TWO, THREE = "file:///models/one", "file:///models/two", "file:///models/three"
CANARY = {"strategy": "Canary", "steps": [{"setWeight": 10}, {"pause": {"durationSeconds": 1}}, {"setWeight": 50}]}
WAITING = {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]}
ANALYSED = {
    "strategy": "Canary",
    "steps": [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}],
    "analysis": {"metrics": [{"name": "errors", "errorRatio": {}}], "intervalSeconds": 1},
}
SHADOWED = {
    "strategy": "Shadow",
    "shadow": {"percent": 50},
    "analysis": {"metrics": [{"name": "same", "disagreement": {}}], "intervalSeconds": 1},
}
BATCHES = {"strategy": "RollingUpdate", "rollingUpdate": {"surge": 1, "unavailable": 0}}
BLUE_GREEN = {"strategy": "BlueGreen", "blueGreen": {"autoPromoteSeconds": 1, "scaleDownDelaySeconds": 2}}
WARM = {"strategy": "RollingUpdate", "rollbackWindow": {"seconds": 3600}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``has_ended`` is about the desired end; that nothing is written any more is checked separately.

    ``clients`` makes those of one run.
    """

    name: str
    set_up: Callable[[Bench], None]
    act: Callable[[Bench], object]
    has_ended: Callable[[Bench], bool]
    clients: Callable[[], Clients | None] = lambda: None


def is_at_rest(place: Place) -> bool:
    """The spec as it is now was looked at, no rollout is under way, and every request was answered."""
    body = place.model() or {}
    status: dict[str, Any] = body.get("status") or {}
    asked, answered = (status.get(key) or {} for key in ("request", "handledRequest"))
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
    return (
        conditions.get("Reconciling") == "False"
        and status.get("observedGeneration") == body["metadata"]["generation"]
        and not status.get("candidateRevision")
        and not status.get("rollout")
        and asked.get("id") == answered.get("id")
        and bool(status.get("stableRevision"))
    )


def is_gone(bench: Bench) -> bool:
    return bench.model() is None and MODEL not in bench.routes() and not bench.ray.applications()


def waits_for_promotion(bench: Bench) -> bool:
    status = bench.status()
    return status.get("phase") == "Paused" and bool(status.get("candidateRevision"))


def stable_is(number: int) -> Callable[[Bench], bool]:
    def holds(bench: Bench) -> bool:
        if not is_at_rest(bench):
            return False
        stable = bench.status()["stableRevision"]
        return any(r["revision"] == number and r["metadata"]["name"].endswith(stable) for r in bench.revisions())

    return holds


def scaled_to(replicas: int) -> Callable[[Bench], bool]:
    def holds(bench: Bench) -> bool:
        stable = bench.status().get("stableRevision")
        return is_at_rest(bench) and bench.ray.running(f"{bench.namespace}--{MODEL}--{stable}") == replicas

    return holds


def is_taken_back(bench: Bench) -> bool:
    """The second revision is given up for what the analysis found, and the first serves alone."""
    reasons = [entry["reason"] for entry in bench.status().get("quarantine") or ()]
    return stable_is(1)(bench) and reasons == ["AnalysisFailed"]


def is_warm(bench: Bench) -> bool:
    """The second revision has all traffic, the first is kept ready."""
    return ((bench.status().get("rollout") or {}).get("phase")) == "Watching"


def third_waits(bench: Bench) -> bool:
    candidate = bench.status().get("candidateRevision") or "none"
    numbers = [r["revision"] for r in bench.revisions() if r["metadata"]["name"].endswith(candidate)]
    return waits_for_promotion(bench) and numbers == [3]


def served(rollout: dict[str, Any] | None = None, *, replicas: int = 1) -> Callable[[Bench], None]:
    """A first revision serves."""

    def set_up(bench: Bench) -> None:
        scaling = {"scaling": {"replicas": replicas}} if replicas > 1 else {}
        bench.create({"model": {"uri": ONE}, "rollout": rollout or {}, **scaling})
        bench.until(is_at_rest, "the first revision serves")
        bench.until_quiet()

    return set_up


def halfway(bench: Bench) -> None:
    """A second revision waits at 25 % for a promotion."""
    served(WAITING)(bench)
    next_revision(bench)
    bench.until(waits_for_promotion, "the second revision waits")
    bench.until_quiet()


def updated(bench: Bench) -> None:
    """The second revision serves, the first is kept."""
    served()(bench)
    next_revision(bench)
    bench.until(stable_is(2), "the second revision serves")
    bench.until_quiet()


def warm(bench: Bench) -> None:
    """The second revision was promoted, and the first is still warm."""
    served(WARM)(bench)
    next_revision(bench)
    bench.until(is_warm, "the second revision serves")
    bench.until_quiet()


def next_revision(bench: Bench) -> None:
    bench.change({"model": {"uri": TWO}})


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="create",
            set_up=lambda bench: None,
            act=lambda bench: bench.create({"model": {"uri": ONE}}),
            has_ended=stable_is(1),
        ),
        Scenario(
            name="update",
            set_up=served(),
            act=next_revision,
            has_ended=stable_is(2),
        ),
        Scenario(
            name="canary",
            set_up=served(CANARY),
            act=next_revision,
            has_ended=stable_is(2),
        ),
        Scenario(
            name="promote",
            set_up=halfway,
            act=lambda bench: bench.ask("Promote", step=1),
            has_ended=stable_is(2),
        ),
        Scenario(name="abort", set_up=halfway, act=lambda bench: bench.ask("Abort"), has_ended=stable_is(1)),
        Scenario(name="rollback", set_up=updated, act=lambda bench: bench.ask("Rollback"), has_ended=stable_is(1)),
        Scenario(
            name="scale",
            set_up=served(),
            act=lambda bench: bench.change({"scaling": {"replicas": 3}}),
            has_ended=scaled_to(3),
        ),
        Scenario(
            name="analysis passed",
            set_up=served(ANALYSED),
            act=next_revision,
            has_ended=stable_is(2),
            clients=lambda: Clients(Part(requests=60), Part(requests=2000), step=1),
        ),
        Scenario(
            name="analysis failed",
            set_up=served(ANALYSED),
            act=next_revision,
            has_ended=is_taken_back,
            clients=lambda: Clients(Part(requests=60, failed=5), Part(requests=2000, failed=500), step=1),
        ),
        Scenario(
            name="shadow",
            set_up=served(SHADOWED),
            act=next_revision,
            has_ended=stable_is(2),
            clients=lambda: Clients(Part(pairs=60), Part(pairs=3000, disagreed=1), step=0),
        ),
        Scenario(name="batches", set_up=served(BATCHES, replicas=3), act=next_revision, has_ended=stable_is(2)),
        Scenario(name="blue-green", set_up=served(BLUE_GREEN), act=next_revision, has_ended=stable_is(2)),
        Scenario(name="warm rollback", set_up=warm, act=lambda bench: bench.ask("Rollback"), has_ended=stable_is(1)),
        Scenario(
            name="superseded",
            set_up=halfway,
            act=lambda bench: bench.change({"model": {"uri": THREE}}),
            has_ended=third_waits,
        ),
        Scenario(name="delete", set_up=served(), act=lambda bench: bench.delete(), has_ended=is_gone),
    )
}
