"""Argo CD's engine runs the shipped scripts on objects of every moment of every scenario; kstatus judges them too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rich.console
import yaml
from tests.support import chart, gitops_engine, recorded_objects
from tests.support.recorded_objects import Object
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.local import progress
from fairlead_operator.api.status import Request, RequestOutcome, RolloutPhase

pytestmark = pytest.mark.timeout(1800)
NAME = "digits"
GOOD, NEXT, BROKEN = "file:///models/good", "file:///models/next", "file:///models/bad"
PATCH: Path = chart.CHART / "files" / "argocd" / "argocd-cm.yaml"
KIND = "fairlead.dev_ModelDeployment"
SCRIPTS: Mapping[str, str] = yaml.safe_load(PATCH.read_text())["data"]
HEALTH = SCRIPTS[f"resource.customizations.health.{KIND}"]
CLASS_HEALTH = SCRIPTS["resource.customizations.health.fairlead.dev_ServingClass"]
ACTIONS = yaml.safe_load(SCRIPTS[f"resource.customizations.actions.{KIND}"])
DEFINITIONS = {each["name"]: each["action.lua"] for each in ACTIONS["definitions"]}
CANARY = {"strategy": "Canary", "steps": [{"setWeight": 20}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]}


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """An object with what Argo CD and kstatus make of it."""

    found: Object
    health: str
    message: str
    kstatus: str

    def condition(self, kind: str) -> str | None:
        conditions = self.found["status"].get("conditions", ())
        return next((each["status"] for each in conditions if each["type"] == kind), None)

    @property
    def is_deleting(self) -> bool:
        return "deletionTimestamp" in self.found["metadata"]

    @property
    def is_observed(self) -> bool:
        return bool(self.found["status"].get("observedGeneration") == self.found["metadata"]["generation"])

    def __str__(self) -> str:
        status = self.found["status"]
        conditions = {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())}
        return f"{self.health}, {self.kstatus}: {status.get('phase')} {conditions}: {self.message}"


@pytest.fixture(scope="module")
def engine() -> gitops_engine.Engine:
    return gitops_engine.Engine(gitops_engine.obtain(progress.RichReporter(rich.console.Console())))


def judge(engine: gitops_engine.Engine, *objects: Object) -> list[Judged]:
    healths = engine.ask([("health", HEALTH, each) for each in objects])
    results = engine.ask([("kstatus", "", each) for each in objects])
    return [
        Judged(each, health["status"], health.get("message", ""), result["Status"])
        for each, health, result in zip(objects, healths, results, strict=True)
    ]


@pytest.fixture(scope="module")
def judged(engine: gitops_engine.Engine) -> list[Judged]:
    return judge(engine, *recorded_objects.objects())


def test_the_objects_are_of_every_phase(judged: list[Judged]) -> None:
    phases = {(each.found["status"].get("rollout") or {}).get("phase") for each in judged}
    assert {None, *map(str, RolloutPhase)} == phases
    assert {each.health for each in judged} == {"Healthy", "Progressing", "Degraded", "Suspended", "Unknown"}
    assert {each.kstatus for each in judged} == {"Current", "InProgress", "Failed", "Terminating"}


def test_every_object_has_a_health_with_a_message(judged: list[Judged]) -> None:
    assert [str(each) for each in judged if not each.message] == []


def test_what_needs_a_person_is_degraded_and_failed(judged: list[Judged]) -> None:
    stalled = [
        each for each in judged if each.condition("Stalled") == "True" and each.is_observed and not each.is_deleting
    ]
    assert [str(each) for each in stalled if each.health != "Degraded"] == []
    waiting = [each for each in stalled if each.condition("Reconciling") != "True"]
    assert [str(each) for each in waiting if each.kstatus != "Failed"] == []
    assert len(waiting) > 5


def test_what_is_ready_is_healthy_and_current_and_nothing_else_is(judged: list[Judged]) -> None:
    for each in judged:
        is_ready = each.condition("Ready") == "True" and each.is_observed and not each.is_deleting
        is_ready = is_ready and each.condition("Stalled") != "True"
        assert (each.health == "Healthy") == is_ready, str(each)
        if each.kstatus == "Current":
            assert is_ready, str(each)


def test_a_paused_or_suspended_model_is_suspended_and_nothing_serves_in_silence(judged: list[Judged]) -> None:
    for each in judged:
        is_held = each.found["status"].get("phase") == "Paused" or each.found["spec"].get("suspend", False)
        if each.health == "Suspended":
            assert is_held, str(each)
        if each.condition("Available") == "False" and each.health == "Healthy":
            # Scaled to zero, or so young that the gateways don't know it.
            assert each.found["spec"].get("scaling", {}).get("replicas") == 0, str(each)


def stored(world: VirtualWorld) -> Object:
    return recorded_objects.as_object(world.namespace, NAME, world.models[NAME])


def test_a_bad_commit_is_seen_by_both_and_a_revert_as_well(engine: gitops_engine.Engine) -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": GOOD})
    world.settle()
    good = stored(world)
    world.change(NAME, "model.uri", BROKEN)
    committed = stored(world)
    world.settle()
    bad = stored(world)
    world.be_patient()
    later = stored(world)
    world.change(NAME, "model.uri", GOOD)
    world.settle()
    found = judge(engine, good, committed, bad, later, stored(world))
    assert [each.health for each in found] == ["Healthy", "Progressing", "Degraded", "Degraded", "Healthy"]
    assert [each.kstatus for each in found] == ["Current", "InProgress", "Failed", "Failed", "Current"]
    assert "ModelCorrupt" in found[2].message
    assert (found[2].condition("Ready"), found[2].condition("Available")) == ("False", "True")


def enabled(engine: gitops_engine.Engine, *objects: Object) -> list[set[str]]:
    answers = engine.ask([("discovery", ACTIONS["discovery.lua"], each) for each in objects])
    return [{each["name"] for each in answer if not each.get("disabled")} for answer in answers]


def test_every_action_that_is_offered_changes_the_request_and_nothing_else(engine: gitops_engine.Engine) -> None:
    objects = recorded_objects.objects()
    offered = enabled(engine, *objects)
    pairs = [(each, name) for each, names in zip(objects, offered, strict=True) for name in sorted(names)]
    assert {name for _, name in pairs} == DEFINITIONS.keys()
    answers = engine.ask([("action", DEFINITIONS[name], each) for each, name in pairs])
    for (each, name), (changed,) in zip(pairs, answers, strict=True):
        status = dict(changed["status"])
        request = Request.model_validate(status.pop("request"))
        assert request.verb.replace("F", "-F").lower() == name
        before = {field: value for field, value in each["status"].items() if field != "request"}
        assert {**changed, "status": status} == {**each, "status": before}


def act(engine: gitops_engine.Engine, world: VirtualWorld, name: str) -> RequestOutcome:
    """Run an action as Argo CD's server does, let the operator work, and say what became of the request."""
    before = stored(world)
    assert name in enabled(engine, before)[0]
    ((changed,),) = engine.ask([("action", DEFINITIONS[name], before)])
    world.models[NAME].status["request"] = changed["status"]["request"]
    world.models[NAME].resource_version += 1
    world.settle()
    handled = world.view(NAME).status.handled_request
    assert handled is not None
    assert handled.id == changed["status"]["request"]["id"]
    return handled.outcome


def begin(world: VirtualWorld) -> None:
    """A canary that stands at its first pause."""
    world.apply(NAME, model={"uri": GOOD}, rollout=CANARY)
    world.settle()
    world.change(NAME, "model.uri", NEXT)
    world.settle()


@pytest.mark.parametrize(
    ("actions", "phase", "uri"),
    [
        pytest.param(["promote", "promote"], None, NEXT, id="promote"),
        pytest.param(["promote-full"], None, NEXT, id="promote-full"),
        pytest.param(["pause", "resume", "promote", "promote"], None, NEXT, id="pause and resume"),
        pytest.param(["abort"], None, GOOD, id="abort"),
        pytest.param(["abort", "retry"], "Shifting", GOOD, id="retry"),
        pytest.param(["promote-full", "rollback"], None, GOOD, id="rollback"),
    ],
)
def test_the_operator_carries_the_actions_out(
    engine: gitops_engine.Engine, actions: list[str], phase: str | None, uri: str
) -> None:
    world = VirtualWorld()
    begin(world)
    assert [act(engine, world, name) for name in actions] == [RequestOutcome.DONE] * len(actions)
    status: dict[str, Any] = world.models[NAME].status
    assert (status.get("rollout") or {}).get("phase") == phase
    assert status["model"]["uri"] == uri


@pytest.mark.parametrize(
    ("condition", "health"),
    [
        (None, "Progressing"),
        ({"status": "True", "observedGeneration": 1}, "Progressing"),
        ({"status": "True", "observedGeneration": 2}, "Healthy"),
        ({"status": "False", "observedGeneration": 2}, "Degraded"),
        ({"status": "Unknown", "observedGeneration": 2}, "Unknown"),
    ],
)
def test_a_serving_class_is_as_healthy_as_its_condition_says(
    engine: gitops_engine.Engine, condition: dict[str, Any] | None, health: str
) -> None:
    conditions = [{"type": "Ready", "message": "m", **condition}] if condition is not None else []
    found = {"kind": "ServingClass", "metadata": {"generation": 2}, "status": {"conditions": conditions}}
    (answer,) = engine.ask([("health", CLASS_HEALTH, found)])
    assert answer["status"] == health
