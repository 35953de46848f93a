"""A model on several Ray clusters: each has its own session, its own replicas and its own faults."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support.one_model import NAME, round_of, serving, until
from tests.support.virtual_ray import RayApplication
from tests.support.virtual_world import Fault, VirtualWorld

from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.directory import Unplaced
from fairlead_operator.state.reasons import Reason

CANARY = {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]}
FOREIGN = {"name": "someone", "deployments": [{"num_replicas": 1}], "args": {"config": {"source": {"uri": "x"}}}}


def running(world: VirtualWorld, cluster: str) -> list[str]:
    return sorted(world.clusters[cluster].applications)


def moving(world: VirtualWorld) -> VirtualWorld:
    """Served on ``old``, and a canary holds at a quarter on ``new``."""
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 2}, rollout=CANARY)
    world.settle()
    world.placement = "new"
    return until(world, lambda: is_held(world))


def is_held(world: VirtualWorld) -> bool:
    return bool(world.plans) and world.plans[-1].reason is Reason.PAUSED and serving(world).candidate is not None


@pytest.fixture
def world() -> VirtualWorld:
    made = VirtualWorld(clusters=("old", "new"))
    for cluster in made.clusters.values():
        cluster.serve_runs = True
        config = dict(FOREIGN)
        cluster.applications["someone"] = RayApplication(config=config, running=1, is_stuck=True)
    return made


@pytest.mark.parametrize("strategy", ["RollingUpdate", "Recreate"])
def test_a_move_waits_for_the_other_cluster_while_what_serves_is_looked_after(
    world: VirtualWorld, strategy: str
) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 2}, rollout={"strategy": strategy})
    world.settle()
    first = serving(world).stable
    world.placement, world.awaited, world.clusters["new"].is_away = "new", "RayCluster new does not exist yet.", True
    until(world, lambda: world.plans[-1].reason is Reason.RAY_CLUSTER_STARTING)
    assert "does not exist yet" in world.plans[-1].message
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 3}, rollout={"strategy": strategy})
    until(world, lambda: any(app.running == 3 for app in world.clusters["old"].applications.values()))
    for _ in range(20):
        round_of(world)
    assert serving(world).stable == first
    assert serving(world).rollout is None
    world.awaited, world.clusters["new"].is_away = None, False
    world.settle()
    assert serving(world).stable not in (None, first)
    assert running(world, "old") == ["someone"]


def test_a_model_without_a_serving_class_keeps_what_serves_and_can_be_deleted(world: VirtualWorld) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    before = running(world, "old")
    world.unplaced = Unplaced(reason=Reason.NO_SERVING_CLASS, message="ServingClass fast does not exist.")
    world.apply(NAME, model={"uri": "file:///m/2"})
    for _ in range(5):
        round_of(world)
    conditions = {each.type: each for each in world.view(NAME).status.conditions}
    assert conditions["Accepted"].reason == "NoServingClass"
    assert "fast does not exist" in conditions["Accepted"].message
    assert conditions["Available"].status == "True"
    assert running(world, "old") == before
    world.delete(NAME)
    world.settle()
    assert running(world, "old") == ["someone"]


def test_a_class_that_is_not_there_is_said_of_a_model_that_serves(world: VirtualWorld) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    first, before = serving(world).stable, running(world, "old")
    world.unplaced = Unplaced(reason=Reason.NO_SERVING_CLASS, message="ServingClass fast does not exist.")
    world.apply(NAME, model={"uri": "file:///m/1"}, cluster={"class": "fast"})
    for _ in range(5):
        round_of(world)
    conditions = {each.type: each for each in world.view(NAME).status.conditions}
    assert (conditions["Accepted"].status, conditions["Accepted"].reason) == ("False", "NoServingClass")
    assert (conditions["Ready"].status, conditions["Available"].status) == ("False", "True")
    assert (serving(world).stable, running(world, "old")) == (first, before)
    world.unplaced = None
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    assert {each.type: each.status for each in world.view(NAME).status.conditions}["Ready"] == "True"
    assert serving(world).stable == first


def test_a_move_to_another_cluster_is_an_ordinary_rollout(world: VirtualWorld) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 2})
    world.settle()
    (first,) = set(running(world, "old")) - {"someone"}
    before = serving(world).stable
    world.placement = "new"
    world.settle()
    assert serving(world).stable not in (None, before)
    assert running(world, "old") == ["someone"], "it is gone from there once nothing asks for it"
    (second,) = set(running(world, "new")) - {"someone"}
    assert first != second
    rows = {row.name: row.cluster for row in world.view(NAME).status.revisions}
    assert rows == {before: "old", serving(world).stable: "new"}


@pytest.mark.parametrize("rollout", [{}, {"rollbackWindow": {"seconds": 20}}], ids=["plain", "with a window"])
def test_where_the_operator_makes_the_clusters_no_revision_holds_one_that_the_model_left(
    world: VirtualWorld, rollout: dict[str, Any]
) -> None:
    world.is_placed_by_class = True
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=rollout)
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: serving(world).rollout is None and len(kept(world)) == 2)
    world.placement = "new"
    until(world, lambda: "new" in kept(world))
    while serving(world).rollout is not None:
        assert "old" in kept(world), "the revision that serves, or that is warm, keeps its cluster"
        round_of(world)
    until(world, lambda: kept(world) == ["new"])


def test_a_ray_cluster_that_never_answered_is_held_by_no_revision(world: VirtualWorld) -> None:
    world.is_placed_by_class = True
    world.clusters["old"].is_away = True
    world.apply(NAME, model={"uri": "file:///m/1"})
    until(world, lambda: kept(world) == ["old"])
    world.placement = "new"
    world.settle()
    assert kept(world) == ["new"]
    assert serving(world).stable is not None


def kept(world: VirtualWorld) -> list[str]:
    """The clusters that the kept revisions record."""
    return [revision.cluster for revision in world.models[NAME].revisions.values()]


def test_the_same_template_goes_back_to_the_revision_of_the_cluster_it_was_on(world: VirtualWorld) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    first = serving(world).stable
    for placement in ("new", "old"):
        world.placement = placement
        world.settle()
    assert serving(world).stable == first
    assert len(world.models[NAME].revisions) == 2


def test_foreign_applications_are_never_touched(world: VirtualWorld) -> None:
    moving(world)
    world.delete(NAME)
    world.settle()
    assert NAME not in world.models
    assert running(world, "old") == running(world, "new") == ["someone"]
    assert all(not cluster.applications["someone"].deleting for cluster in world.clusters.values())


def test_the_head_of_the_candidate_s_cluster_starts_it_again_and_leaves_the_stable_one(world: VirtualWorld) -> None:
    moving(world)
    stable = serving(world).stable
    world.lose_ray("new")
    until(world, lambda: world.plans[-1].reason is Reason.RAY_RESTARTED)
    assert serving(world).rollout is not None
    until(world, lambda: is_held(world))
    assert (serving(world).stable, serving(world).quarantine) == (stable, ())
    assert not any("old" in write.what for write in world.writes if write.kind == "Put" and "someone" in write.what)


def test_the_candidate_is_not_the_one_that_lost_its_replicas_with_the_stable_one_s_head(world: VirtualWorld) -> None:
    moving(world)
    world.lose_ray("old")
    until(world, lambda: world.plans[-1].reason is Reason.RAY_RESTARTED)
    rollout = serving(world).rollout
    assert rollout is not None
    assert not rollout.health.is_restarting, "its own head lives: a crash of it would still count"
    assert rollout.phase is RolloutPhase.SHIFTING
    until(world, lambda: is_held(world))
    assert serving(world).quarantine == ()


def test_a_cluster_that_is_away_holds_up_what_runs_there_and_nothing_else(world: VirtualWorld) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    world.clusters["new"].is_away = True
    world.change(NAME, "scaling.replicas", 3)
    world.settle()
    assert next(app.running for name, app in world.clusters["old"].applications.items() if name != "someone") == 3
    world.clusters["old"].is_away, world.clusters["new"].is_away = True, False
    round_of(world)
    assert world.plans[-1].reason is Reason.RAY_UNREACHABLE


def test_a_deletion_waits_for_every_cluster_that_a_revision_was_placed_on(world: VirtualWorld) -> None:
    moving(world)
    world.clusters["old"].is_away = True
    world.delete(NAME)
    for _ in range(int(world.bounds.deletion_unknown_s) - 5):
        round_of(world)
    assert world.models[NAME].finalizers
    assert running(world, "new") == ["someone"]
    world.clusters["old"].is_away = False
    world.settle()
    assert NAME not in world.models


def test_a_cluster_that_is_no_longer_listed_is_unknown_and_not_empty(world: VirtualWorld) -> None:
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    gone = world.clusters.pop("old")
    world.placement = "new"
    world.delete(NAME)
    for _ in range(int(world.bounds.deletion_unknown_s) - 5):
        round_of(world)
    assert world.models[NAME].finalizers, "its replicas may still run there"
    world.clusters["old"] = gone
    world.settle()
    assert NAME not in world.models


def test_neither_a_flag_nor_a_version_of_the_operator_changes_what_runs() -> None:
    """Ray restarts every replica of an application whose configuration differs: the world would refuse that."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, scaling={"replicas": 2})
    world.settle()
    puts = [write for write in world.writes if write.kind == "Put"]
    world.bounds = dataclasses.replace(Bounds(), shutdown_margin_s=99)
    world.settle()
    assert [write for write in world.writes if write.kind == "Put"] == puts


def test_a_gateway_that_refuses_the_route_is_named_with_its_reason() -> None:
    world = VirtualWorld()
    world.gateways[1].is_stuck = True
    world.gateways[1].errors[NAME] = "stable: must be 10 hex digits"
    world.apply(NAME, model={"uri": "file:///m/1"})
    round_of(world)
    until(world, lambda: world.plans[-1].reason is Reason.ROUTE_REFUSED)
    round_of(world)
    ready = next(c for c in world.view(NAME).status.conditions if c.type == "Ready")
    assert ready.reason == "RouteRefused"
    assert ready.message == "Gateway gw-1 refuses the route: stable: must be 10 hex digits"


def test_a_gateway_that_can_not_be_read_is_named_and_the_others_count() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    until(world, lambda: serving(world).phase is RolloutPhase.CONNECTING)
    for _ in range(3):
        plan = world.pass_model(NAME, Fault.GATEWAY_UNREAD)
    assert plan.reason is Reason.GATEWAY_UNREACHABLE
    assert "gw-0" in plan.message
