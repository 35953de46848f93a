"""Available and Ready: what clients get, as the gateways see it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support import client_oracle
from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_world import Fault, Outage, VirtualWorld

from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.desired import build
from fairlead_operator.plan import planner
from fairlead_operator.state.actions import Done
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed
from fairlead_operator.state.route import RevisionLive, RouteLive
from fairlead_operator.status import summary


def served(replicas: int = 3, **spec: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": replicas}, **spec)
    world.settle()
    return world


def condition(world: VirtualWorld, kind: str) -> tuple[str, str]:
    found = next(c for c in world.models[NAME].status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def cut_off(world: VirtualWorld, monkeypatch: pytest.MonkeyPatch, up: int) -> None:
    """Ray runs everything, but no gateway reaches more than ``up`` replicas."""
    real = world._live

    def live(gateway: Any, name: str, text: str) -> RouteLive:
        seen = real(gateway, name, text)
        cut = {r: RevisionLive(up=min(up, one.up), draining=0, sessions=0) for r, one in seen.revisions.items()}
        return dataclasses.replace(seen, revisions=cut)

    monkeypatch.setattr(world, "_live", live)


def test_replicas_that_no_gateway_reaches_are_neither_ready_nor_available() -> None:
    world = served()
    assert (condition(world, "Available"), condition(world, "Ready")) == (("True", "Available"), ("True", "Serving"))
    world.begin(Outage.REACH)
    round_of(world)
    assert condition(world, "Available") == ("False", "ReplicasUnreachable")
    assert condition(world, "Ready") == ("False", "ReplicasUnreachable")
    assert condition(world, "Degraded") == ("True", "ReplicasUnreachable")
    assert world.models[NAME].status["readyReplicas"] == 0
    world.end_outages()
    world.settle()
    assert (condition(world, "Available"), condition(world, "Ready")) == (("True", "Available"), ("True", "Serving"))


def test_unreachable_replicas_keep_a_model_available_and_are_reported_after_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = served()
    cut_off(world, monkeypatch, up=2)
    round_of(world)
    assert condition(world, "Ready")[0] == "True"  # a gateway sees each replica a moment later than Ray
    for _ in range(30):
        round_of(world)
    assert condition(world, "Available") == ("True", "Available")
    assert condition(world, "Ready") == ("False", "ReplicasUnreachable")
    assert world.models[NAME].status["readyReplicas"] == 2


def test_availability_is_unknown_while_a_gateway_is_unreadable() -> None:
    world = served()
    world.pass_model(NAME, Fault.GATEWAY_UNREAD)
    for kind in ("Available", "Ready", "Degraded"):
        assert condition(world, kind) == ("Unknown", "GatewayUnreachable")


@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2)])
def test_scaling_changes_neither_ready_nor_available(before: int, after: int) -> None:
    world = served(before)
    world.change(NAME, "scaling.replicas", after)
    seen = set()
    for _ in range(20):
        round_of(world)
        seen.add((condition(world, "Available")[0], condition(world, "Ready")[0]))
    assert seen == {("True", "True")}
    assert world.models[NAME].status["readyReplicas"] == after


def test_a_scale_up_without_new_replicas_becomes_not_ready() -> None:
    world = served(2, rollout={"progressDeadlineSeconds": 30})
    next(iter(world.applications.values())).is_stuck = True
    world.change(NAME, "scaling.replicas", 5)
    for _ in range(25):
        round_of(world)
    assert condition(world, "Ready")[0] == "True"
    for _ in range(20):
        round_of(world)
    assert condition(world, "Ready")[0] == "False"
    assert condition(world, "Available")[0] == "True"


def test_a_canary_is_available_though_it_is_not_ready() -> None:
    world = served(2, rollout={"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]})
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: serving(world).phase is Phase.SHIFTING)
    for _ in range(5):
        round_of(world)
    assert condition(world, "Ready")[0] == "False"
    assert condition(world, "Available")[0] == "True"


def test_a_model_without_a_serving_revision_is_not_available() -> None:
    world = served(2)
    world.change(NAME, "suspend", True)
    world.settle()
    assert condition(world, "Available") == ("False", "Suspended")


@pytest.fixture(scope="module")
def at_zero() -> VirtualWorld:
    """Its desired revision failed, so the one before is stable, without a replica."""
    world = VirtualWorld()
    scaling = {"minReplicas": 0, "maxReplicas": 4, "target": {"ongoingRequests": 4}}
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling=scaling)
    world.settle()
    world.change(NAME, "model.uri", "file:///m/bad")
    world.settle()
    world.rest(NAME)
    world.settle()
    assert condition(world, "Available") == ("True", "AtZero")
    return world


def availability_of(world: VirtualWorld, view: ModelDeploymentView, seen: Observed) -> tuple[str, str]:
    desired = build.build(view, seen.revisions, world.bounds, cluster=seen.placement)
    plan = planner.make(desired, seen, world.bounds, world.now)
    update = summary.summarise(desired, view, seen, plan=plan, outcome=Done(), now=world.now)
    found = client_oracle.condition(update.status, "Available")
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spec": InvalidSpec(message="spec.model: Field required")}, "InvalidSpec"),
        ({"status_problem": "status.rollout.phase: unknown"}, "StatusUnreadable"),
    ],
)
def test_a_model_at_zero_that_no_request_can_wake_is_not_available(
    at_zero: VirtualWorld, change: dict[str, Any], reason: str
) -> None:
    view = dataclasses.replace(at_zero.view(NAME), **change)
    seen = dataclasses.replace(at_zero.observe(NAME), object=Known(view))
    assert availability_of(at_zero, view, seen) == ("False", reason)


def test_a_model_at_zero_whose_revision_was_deleted_is_not_available(at_zero: VirtualWorld) -> None:
    view, seen = at_zero.view(NAME), at_zero.observe(NAME)
    left = tuple(revision for revision in seen.revisions if revision.revision != view.serving.stable)
    assert availability_of(at_zero, view, dataclasses.replace(seen, revisions=left)) == ("False", "RevisionLost")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (
            "Ray: GET http://10.0.0.7:8265/api/serve/applications/: no answer within 3 s",
            "Ray: GET …: no answer within 3 s",
        ),
        ("Cannot connect to host 127.0.0.1:8265 ssl:default [Connect call failed ('127.0.0.1', 8265)]", None),
        ("gateway https://gw-0.gateways.a.svc:9901: 500: oops", "gateway …: 500: oops"),
        ("raycluster-head-svc.a.svc:8265 refused", "… refused"),
        ("after 600 s 0 of 3 run", "after 600 s 0 of 3 run"),
    ],
)
def test_texts_for_users_contain_no_internal_address(text: str, hidden: str | None) -> None:
    shown = hide_addresses(text)
    assert hidden is None or shown == hidden
    assert not any(part in shown for part in ("127.0.0.1", "10.0.0.7", "8265", "9901", ".svc"))
