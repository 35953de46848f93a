"""Several faults at once that all end: then every model is answered again, or its status names a person's move.

The oracle asks the gateways' tables and replicas what a client gets, not the operator.
"""

from __future__ import annotations

import copy
import datetime
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from tests.support import client_oracle
from tests.support.virtual_world import Fault, Outage, VirtualWorld
from tests.unit.operator.plan import test_invariants as invariants
from tests.unit.operator.plan.test_invariants import CLUSTERS, PRUNED, STARTS, STEPS, Op, is_held, tell

from fairlead_operator.desired import build
from fairlead_operator.state.observed import InvalidSpec
from fairlead_operator.state.rollout import recall
from fairlead_operator.state.route import FULL_WEIGHT, RouteText

STORIES = int(os.environ.get("FAIRLEAD_LIVENESS_STORIES", "60"))
SEED = int(os.environ.get("FAIRLEAD_MODEL_SEED", "0"))
WITHIN_S = 3600
LOOK_S = 10

# The operator's absence and a clock that jumps are longer than every deadline.
TROUBLES = st.one_of(
    st.tuples(st.just("outage"), st.sampled_from(sorted(Outage))),
    st.tuples(st.just("lose ray"), st.none()),
    st.tuples(st.just("move"), st.sampled_from(CLUSTERS)),
    st.tuples(st.just("prune"), st.sampled_from(PRUNED)),
    st.tuples(st.just("away"), st.sampled_from((60, 3600, 90_000))),
    st.tuples(st.just("clock"), st.sampled_from((-7200, -60, 60, 7200))),
    st.tuples(st.just("rounds"), st.sampled_from((1, 5, 40))),
)


def strike(world: VirtualWorld, kind: str, argument: Any) -> None:
    match kind:
        case "outage":
            world.begin(Outage(argument))
        case "lose ray":
            world.lose_ray(world.placement)
        case "move":
            world.placement = argument
        case "prune":
            world.pruned |= {argument}
        case "away":
            world.tick(argument)
        case "clock":
            world.now += datetime.timedelta(seconds=argument)
        case _:
            look(world, argument)


def look(world: VirtualWorld, count: int, seconds: float = 1.0) -> None:
    for _ in range(count):
        world.look(seconds)


def is_well(world: VirtualWorld, name: str) -> bool:
    """Answered as it should be, or at rest for a reason that only a person can change."""
    if world.models[name].deleting:
        return False  # until it is gone
    view = world.view(name)
    serving = recall(view.status)
    desired = build.build(view, tuple(world.models[name].revisions.values()), world.bounds, cluster=world.placement)
    assert not isinstance(desired, InvalidSpec)
    if desired.suspended or desired.replicas == 0:
        return True
    if client_oracle.are_answered(world, name):
        return True
    needs_a_person = client_oracle.condition(world.models[name].status, "Stalled")["status"] == "True"
    return needs_a_person or is_held(desired, serving)


def expect_to_recover(world: VirtualWorld) -> None:
    world.end_faults()
    for application in (application for one in world.all for application in one.applications.values()):
        application.is_stuck = False
    for _ in range(WITHIN_S // LOOK_S):
        look(world, 1, LOOK_S)
        if not (bad := unwell(world)):
            break
    assert bad == {}, f"{bad}; last plans: {[one.plans[-1] for one in world.all if one.plans]}"


def unwell(world: VirtualWorld) -> dict[str, Any]:
    """The conditions of every model that is neither answered nor waits for a person."""
    return {
        f"{one.namespace}/{name}": one.models[name].status.get("conditions", [])
        for one in world.all
        for name in one.models
        if not is_well(one, name)
    }


@seed(SEED)
@settings(max_examples=STORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    start=st.sampled_from(sorted(STARTS)),
    before=st.lists(STEPS, max_size=6),
    troubles=st.lists(TROUBLES, min_size=2, max_size=9),
    meanwhile=st.lists(STEPS, max_size=4),
)
@example(
    start="halfway", before=[], troubles=[("outage", Outage.STORE), ("lose ray", None), ("rounds", 40)], meanwhile=[]
)
@example(
    start="served", before=[], troubles=[("outage", Outage.GATEWAY), ("lose ray", None), ("rounds", 40)], meanwhile=[]
)
@example(
    start="halfway", before=[], troubles=[("outage", Outage.PUTS), ("lose ray", None), ("away", 90_000)], meanwhile=[]
)
@pytest.mark.timeout(3600)
def test_after_the_last_fault_every_model_is_answered_or_says_what_a_person_has_to_do(
    start: str, before: list[Op], troubles: list[tuple[str, Any]], meanwhile: list[Op]
) -> None:
    world = copy.deepcopy(STARTS[start]())
    tell(world, before)
    half = len(troubles) // 2
    for kind, argument in troubles[:half]:
        strike(world, kind, argument)
    tell(world, meanwhile)
    for kind, argument in troubles[half:]:
        strike(world, kind, argument)
    expect_to_recover(world)


BOUND = 60
"""So many rounds of a second after the last other fault; the analysis measures every 2 s, and 20 s are waited for."""
PASSING_FAULTS = tuple(fault for fault in Fault if fault not in (Fault.GATEWAY_UNREAD, Fault.MEASUREMENTS_UNREAD))
BESIDE_AN_UNREAD_GATEWAY = st.one_of(
    st.tuples(st.just("rounds"), st.just("digits"), st.integers(1, 3)),
    st.tuples(st.just("pass"), st.just("digits"), st.sampled_from(PASSING_FAULTS)),
    st.tuples(st.just("ray"), st.just("digits"), st.sampled_from(invariants.RAY_FAULTS)),
    st.tuples(st.just("agent"), st.just("digits"), st.integers(0, 1)),
    st.tuples(st.just("send"), st.just("digits"), st.sampled_from((10, 400))),
    st.tuples(st.just("pause"), st.just("digits"), st.booleans()),
    st.tuples(st.just("outage"), st.just("digits"), st.sampled_from((Outage.RAY, Outage.PUTS))),
    st.tuples(st.just("clock"), st.just("digits"), st.sampled_from((-60, 20))),
)


@seed(SEED)
@settings(max_examples=STORIES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    start=st.sampled_from(("failing", "souring")),
    unread=st.integers(0, 1),
    is_counted_before=st.booleans(),
    story=st.lists(BESIDE_AN_UNREAD_GATEWAY, max_size=8),
)
@pytest.mark.timeout(3600)
def test_what_fails_is_withdrawn_where_gateways_can_be_read_though_another_stays_unread(
    start: str, unread: int, is_counted_before: bool, story: list[Op]
) -> None:
    world = copy.deepcopy(failing(start))
    if is_counted_before:
        invariants.rounds(world, "digits", 3)
    gateway, other = world.gateways[unread], world.gateways[1 - unread]
    gateway.is_away, world.load = True, 20
    tell(world, story)
    for cluster in world.clusters.values():
        cluster.is_away = False
    bad = recall(world.view("digits").status)
    world.puts_are_refused, world.load = False, 400
    invariants.rounds(world, "digits", BOUND)
    assert [entry.reason for entry in recall(world.view("digits").status).quarantine] == ["AnalysisFailed"], bad
    (answering,) = RouteText(text=other.routes["digits"]).weights().items()
    first = next(kept.revision for kept in world.models["digits"].revisions.values() if kept.number == 1)
    assert answering == (first, FULL_WEIGHT)
    assert all(world.running("digits", r) for r in RouteText(text=gateway.routes["digits"]).weights()), "it has clients"


def failing(start: str) -> VirtualWorld:
    """A candidate, or a promoted revision, that fails clients' requests as soon as they come."""
    if start == "failing":
        return invariants.failing_before_requests()
    world = copy.deepcopy(invariants.watched_and_analysed())
    world.load = 0
    world.change("digits", "rollout.rollbackWindow", {"seconds": 6000})
    return world
