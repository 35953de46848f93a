"""What serves is looked after in every phase, with Ray alone, and comes back by itself once a fault is over."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.one_model import NAME, rollout, round_of, serving, until
from tests.support.virtual_ray import RayApplication
from tests.support.virtual_world import NAMESPACE, Fault, VirtualWorld

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.state.load_reasons import BLAME, Blame
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText

CANARY = {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}], "progressDeadlineSeconds": 60}


def paused_canary(rollout_spec: dict[str, Any] = CANARY) -> VirtualWorld:
    """A second revision that waits at 25 % for a person."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=rollout_spec)
    world.settle()
    world.change(NAME, "model.uri", "file:///m/2")
    until(world, lambda: serving(world).phase is Phase.SHIFTING and rollout(world).step == 1)
    for _ in range(3):
        round_of(world)
    return world


def application_of(world: VirtualWorld, revision: str | None) -> Any:
    return world.applications[names.serve_application(NAMESPACE, NAME, revision or "")]


def running(world: VirtualWorld) -> dict[str, int]:
    return {name.rpartition("--")[2]: app.running for name, app in world.applications.items()}


def weights(world: VirtualWorld) -> dict[str, int]:
    return dict(RouteText(text=world.routes[NAME]).weights())


def condition(world: VirtualWorld, kind: str) -> tuple[str, str]:
    found = next(c for c in world.models[NAME].status["conditions"] if c["type"] == kind)
    return found["status"], found["reason"]


def test_ray_and_the_store_go_at_once_and_the_canary_goes_on_where_it_was() -> None:
    world = paused_canary()
    stable, candidate = serving(world).stable, serving(world).candidate
    world.lose_ray()
    world.sources_are_away = True
    for _ in range(300):
        round_of(world)
    assert serving(world).quarantine == (), "neither is condemned for what befell both"
    world.sources_are_away = False
    world.settle(passes=800)
    assert running(world) == {stable: 1, candidate: 1}
    assert weights(world) == {stable: 7500, candidate: 2500}
    assert condition(world, "Available")[0] == "True"


def test_a_stable_revision_that_ray_gave_up_during_a_pause_is_started_again() -> None:
    world = paused_canary()
    stable = serving(world).stable
    given_up = application_of(world, stable)
    given_up.running, given_up.failed, given_up.has_run = 0, "fairlead: FetchFailed: the store is away", False
    for _ in range(60):
        round_of(world)
    assert running(world)[stable or ""] == 1
    assert weights(world) == {stable: 7500, serving(world).candidate: 2500}


def test_one_gateway_that_can_not_be_read_holds_up_no_repair() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    world.lose_ray()
    world.sources_are_away = True
    for _ in range(30):
        world.pass_model(NAME, Fault.GATEWAY_UNREAD)
        world.pass_ray()
        world.tick()
    assert [app.running for app in world.applications.values()] == [0]
    world.sources_are_away = False
    for _ in range(60):
        world.pass_model(NAME, Fault.GATEWAY_UNREAD)
        world.pass_ray()
        world.tick()
    assert [app.running for app in world.applications.values()] == [1]


def test_a_scale_up_needs_no_gateway() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    world.change(NAME, "scaling.replicas", 3)
    for _ in range(10):
        world.pass_model(NAME, Fault.GATEWAY_UNREAD)
        if world.serve_queued:
            world.pass_ray()
        world.tick()
    assert [app.running for app in world.applications.values()] == [3]


def test_a_scale_up_that_ray_refuses_says_why_and_goes_on_once_it_is_accepted() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    world.change(NAME, "scaling.replicas", 3)
    for _ in range(10):
        world.pass_model(NAME)
        world.pass_ray(Fault.REFUSED)
        world.tick()
    (reconciling,) = (c for c in world.models[NAME].status["conditions"] if c["type"] == "Reconciling")
    assert reconciling["message"].startswith("Waiting for Ray to accept 3 replicas of revision 1 (")
    assert reconciling["message"].endswith(" The configuration was not accepted: 400: a neighbour's application")
    assert condition(world, "Ready")[0] == "True", "as after each change of the replicas, until the progress deadline"
    assert condition(world, "Available")[0] == "True", "its one replica goes on"
    world.settle()
    assert [app.running for app in world.applications.values()] == [3]
    assert condition(world, "Ready") == ("True", "Serving")


def test_a_foreign_application_without_a_configuration_is_named_where_it_holds_up_a_repair() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    foreign = {"name": "theirs", "deployments": [{"num_replicas": 1}], "args": {"config": {"source": {"uri": "x"}}}}
    applications = world.clusters[names.DEFAULT_CLUSTER].applications
    del applications[names.serve_application(NAMESPACE, NAME, serving(world).stable or "")]
    applications["theirs"] = RayApplication(config=foreign, running=1, is_stuck=True, shows_config=False)
    for _ in range(5):
        round_of(world)
    (ready,) = (c for c in world.models[NAME].status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReplicasLost")
    assert "application theirs on the same Ray cluster is not Fairlead's" in ready["message"]
    assert running(world) == {"theirs": 1}, "nothing was written"
    del applications["theirs"]
    world.settle()
    assert condition(world, "Ready") == ("True", "Serving")


def test_a_first_revision_waits_for_the_store_and_says_so() -> None:
    world = VirtualWorld()
    world.sources_are_away = True
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": 60})
    for _ in range(40):
        round_of(world)
    assert world.plans[-1].reason in (Reason.START_RETRIED, Reason.STARTING, Reason.RESTARTED)
    events = [plan.message for plan in world.plans if plan.reason is Reason.START_RETRIED]
    assert "FetchFailed: file:///m/1 timed out" in events[-1]
    for _ in range(1200):
        round_of(world)
    assert serving(world).quarantine == ()
    assert condition(world, "Stalled") == ("True", "StartBlocked")
    number = serving(world).attempt_of(serving(world).candidate or "")
    assert number is not None
    assert 5 <= number.number <= 8, "the pauses grow"
    world.sources_are_away = False
    world.settle(passes=800)
    assert condition(world, "Available") == ("True", "Available")
    assert condition(world, "Ready")[0] == "True"


def beside_a_stable_revision(deadline_s: int) -> VirtualWorld:
    """A second revision whose address answers 404, while the first one serves."""
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"progressDeadlineSeconds": deadline_s})
    world.settle()
    world.missing.add("file:///m/2")
    world.change(NAME, "model.uri", "file:///m/2")
    return world


def test_a_store_that_lacks_the_model_for_a_moment_ends_no_rollout() -> None:
    world = beside_a_stable_revision(deadline_s=600)
    stable = serving(world).stable
    for _ in range(80):
        round_of(world)
    assert (serving(world).stable, serving(world).quarantine) == (stable, ())
    messages = [plan.message for plan in world.plans if plan.reason is Reason.START_RETRIED]
    assert "ModelNotFound: file:///m/2 is gone" in messages[-1]
    world.missing.clear()
    world.settle(passes=800)
    assert serving(world).stable != stable
    assert serving(world).quarantine == ()


@pytest.mark.parametrize("deadline_s", [45, 600])
def test_an_address_that_stays_empty_ends_the_rollout_in_time(deadline_s: int) -> None:
    world = beside_a_stable_revision(deadline_s)
    stable, rounds = serving(world).stable, 0
    while not serving(world).quarantine:
        round_of(world)
        rounds += 1
        assert rounds < 400, world.plans[-1]
    (entry,) = serving(world).quarantine
    assert (entry.reason, "is gone" in entry.message) == ("ModelNotFound", True)
    assert serving(world).stable == stable
    if deadline_s == 45:
        assert rounds < 120, "the deadline counts"
    attempt = [plan.message for plan in world.plans if plan.reason is Reason.RESTARTED]
    assert len(attempt) <= 4, "the pauses grow"


def test_with_recreate_the_last_revision_comes_back_where_the_next_can_not_start() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"strategy": "Recreate", "progressDeadlineSeconds": 60})
    world.settle()
    first = serving(world).stable
    world.change(NAME, "model.uri", "file:///m/away")
    world.settle(passes=1500)
    assert serving(world).stable == first
    assert [entry.reason for entry in serving(world).quarantine] == ["FetchFailed"]


def dead_stable(rollout_spec: dict[str, Any]) -> VirtualWorld:
    """The stable revision's source is gone and so are its replicas; a good revision is rolled out."""
    world = VirtualWorld()
    world.load = 100
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout=rollout_spec)
    world.settle()
    dead = application_of(world, serving(world).stable)
    dead.running, dead.failed, dead.has_run = 0, "fairlead: ModelNotFound: it is gone", False
    world.missing.add("file:///m/1")
    world.change(NAME, "model.uri", "file:///m/2")
    return world


@pytest.mark.parametrize(
    "steps",
    [
        [{"setWeight": 5}, {"pause": {}}],
        [{"setWeight": 5}, {"analysis": {}}, {"pause": {}}],
        [{"pause": {}}],
    ],
)
def test_a_cure_takes_all_requests_where_the_stable_revision_is_dead(steps: list[dict[str, Any]]) -> None:
    metrics = [{"name": "errors", "errorRatio": {}}, {"name": "latency", "latency": {}}]
    world = dead_stable({"strategy": "Canary", "steps": steps, "analysis": {"metrics": metrics, "intervalSeconds": 2}})
    for _ in range(120):
        round_of(world)
    assert serving(world).quarantine == (), "the cure is not condemned"
    candidate = serving(world).candidate or serving(world).stable
    assert weights(world) == {candidate: 10_000}
    assert condition(world, "Available") == ("True", "Available")
    world.ask(NAME, "PromoteFull")
    world.settle()
    assert serving(world).stable == candidate


def test_the_shares_come_back_with_the_stable_revision() -> None:
    world = paused_canary()
    stable = application_of(world, serving(world).stable)
    stable.running, stable.is_stuck = 0, True
    for _ in range(40):
        round_of(world)
    assert weights(world) == {serving(world).candidate: 10_000}
    stable.is_stuck = False
    world.settle()
    assert weights(world) == {serving(world).stable: 7500, serving(world).candidate: 2500}


def test_a_moment_without_the_stable_revision_moves_nothing() -> None:
    world = paused_canary()
    before = weights(world)
    application_of(world, serving(world).stable).running = 0
    for _ in range(8):
        round_of(world)
        assert weights(world) == before


def test_a_dead_stable_revision_does_not_hold_up_a_third_one() -> None:
    """Given up by a person while the stable revision can't come back: a change of the spec goes on without it."""
    world = paused_canary()
    world.missing.add("file:///m/1")
    stable = application_of(world, serving(world).stable)
    stable.running, stable.failed, stable.has_run = 0, "fairlead: ModelNotFound: it is gone", False
    world.ask(NAME, "Abort")
    for _ in range(100):
        round_of(world)
    assert serving(world).phase is Phase.WITHDRAWING
    assert condition(world, "Stalled") == ("True", "RollbackBlocked")
    world.change(NAME, "model.uri", "file:///m/3")
    until_it_serves(world, number=3)


def test_a_first_revision_that_dies_at_its_promotion_does_not_hold_up_the_next() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    until(world, lambda: serving(world).phase is Phase.PROMOTING)
    world.missing.add("file:///m/1")
    dead = application_of(world, serving(world).stable)
    dead.running, dead.failed, dead.has_run = 0, "fairlead: ModelNotFound: it is gone", False
    for _ in range(10):
        round_of(world)
    world.change(NAME, "model.uri", "file:///m/2")
    until_it_serves(world, number=2)


def until_it_serves(world: VirtualWorld, number: int) -> None:
    for _ in range(300):
        round_of(world)
        wanted = next((r.revision for r in world.models[NAME].revisions.values() if r.number == number), None)
        if wanted is not None and weights(world).get(wanted) == 10_000 and condition(world, "Available")[0] == "True":
            return
    raise AssertionError(f"revision {number} never takes all requests: {world.plans[-1]}")


def test_every_reason_of_the_runtime_says_whose_fault_it_is() -> None:
    assert {reason for reason, blame in BLAME.items() if blame is Blame.ENVIRONMENT} >= {"FetchFailed", "DiskFull"}
    assert all(blame is not Blame.UNKNOWN for blame in BLAME.values())


def test_a_stable_revision_whose_replicas_do_not_come_back_says_why() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"})
    world.settle()
    application_of(world, serving(world).stable).room = 0
    words = "The deployment failed to start 9 times.\nfairlead: DigestMismatch: the content is another one\n"
    world.kill_replica(names.serve_application(NAMESPACE, NAME, str(serving(world).stable)), words)
    for _ in range(3):
        round_of(world)
    conditions = {each["type"]: each["message"] for each in world.models[NAME].status["conditions"]}
    for kind in ("Ready", "Degraded"):
        assert conditions[kind].endswith("0 of 1 replicas run. DigestMismatch: the content is another one")
