"""The planner as a model to be checked: random stories with faults, in a small model of the world.

``VirtualWorld`` checks the invariants at every step (``tests/support/consistency.py``); stories are played here, and
the end is checked: once faults stop, the world comes to rest in the desired state.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from tests.support import nightly
from tests.support.virtual_world import Fault, Outage, VirtualWorld

from fairlead_operator.api.analysis_status import AnalysisPhase
from fairlead_operator.api.status import Rollout, RolloutPhase, Verb
from fairlead_operator.desired import build
from fairlead_operator.state.desired import Desired, MinSamples, Pause, Step
from fairlead_operator.state.observed import InvalidSpec
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import FULL_WEIGHT, RouteText

MODELS = ("digits", "digits--two")
BESIDE = "default--two"
"""A namespace whose name begins with that of the first."""
CLUSTERS = ("default", "new")
# What an older CRD may lack: the API server drops it from each status.
PRUNED = (
    *("rollout.progressSeconds", "rollout.progressAt", "rollout.proved", "rollout.proofDigest", "rollout.analysis"),
    "rollout.evaluation",
    *("rollout.weightBasisPoints", "rollout.raySessions", "rollout.health", "rollout.baseline", "rollout.stableLostAt"),
    *("handledRequest", "quarantine", "attempts", "rollback", "lastStableRevision", "model", "revisions", "rollout"),
)
URIS = (
    "file:///m/1",
    "file:///m/2",
    "file:///m/3",
    "file:///m/bad",
    "file:///m/wrong",
    "file:///m/slow",
    "file:///m/wider",
    "file:///m/failing",
    "file:///m/late",
    "file:///m/odd",
    "file:///m/souring",
    "file:///m/poor",
    "file:///m/unevaluated",
)
GOOD = URIS[:3]
SLOW_RAY_THAT_IS_LOST = ("slow ray", "digits", ("lose ray", "digits", None))
ALL = -1

STRATEGIES: dict[str, dict[str, Any]] = {
    "RollingUpdate": {},
    "Recreate": {},
    "BlueGreen": {},
    "Canary that grows": {"steps": [{"setReplicas": 1}, {"setWeight": 20}, {"setReplicas": 2}, {"pause": {}}]},
    "BlueGreen by itself": {"blueGreen": {"autoPromoteSeconds": 15, "scaleDownDelaySeconds": 40}},
    "RollingUpdate in batches": {"rollingUpdate": {"surge": 1, "unavailable": 1}},
    "RollingUpdate in place": {"rollingUpdate": {"surge": 0, "unavailable": "50%"}},
    "RollingUpdate and watched": {"rollbackWindow": {"seconds": 60}},
    "Canary": {"steps": [{"setWeight": 1}, {"pause": {"durationSeconds": 30}}, {"setWeight": 50}, {"pause": {}}]},
    "Shadow": {"shadow": {"percent": 10}, "match": [{"cookie": "canary", "value": "on"}]},
    "BlueGreen matched": {"match": [{"header": "x-group", "value": "beta"}]},
    "Canary matched": {
        "steps": [{"setWeight": 1}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}],
        "match": [{"header": "x-group", "value": "beta"}],
        "sticky": {"header": "x-user"},
    },
    "Canary up and down": {"steps": [{"pause": {}}, {"setWeight": 100}, {"setWeight": 10}, {"pause": {}}]},
}
ANALYSIS: dict[str, Any] = {
    "metrics": [{"name": "errors", "errorRatio": {}}, {"name": "latency", "latency": {"quantile": 0.5, "ratio": 2}}],
    "intervalSeconds": 2,
    "count": 5,
    "errorLimit": 1,
}
STRATEGIES["Canary analysed"] = {
    "steps": [
        {"setWeight": 20},
        {"minSamples": 50},
        {"analysis": {}},
        {"setWeight": 50},
        {"pause": {"durationSeconds": 9}},
    ],
    "analysis": ANALYSIS,
}
STRATEGIES["Shadow analysed"] = {
    "shadow": {"percent": 50},
    "analysis": {"metrics": [{"name": "same", "disagreement": {}}], "intervalSeconds": 5, "count": 3},
}
STRATEGIES["Canary dry"] = {"steps": [{"setWeight": 50}, {"analysis": {}}], "analysis": {**ANALYSIS, "dryRun": True}}
STRATEGIES["Canary watched"] = {
    "steps": [{"setWeight": 20}, {"pause": {"durationSeconds": 12}}],
    "analysis": {**ANALYSIS, "metrics": [*ANALYSIS["metrics"], {"name": "right", "accuracy": {}}]},
    "rollbackWindow": {"seconds": 60},
}
STRATEGIES["RollingUpdate or else Recreate"] = {"onInsufficientCapacity": "Recreate"}
STRATEGIES["Canary or else Recreate"] = {**STRATEGIES["Canary"], "onInsufficientCapacity": "Recreate"}
STRATEGIES["RollingUpdate in batches or else Recreate"] = {
    "rollingUpdate": {"surge": 2},
    "onInsufficientCapacity": "Recreate",
}
STRATEGIES["RollingUpdate evaluated"] = {"requireEvaluation": {"metric": "Accuracy", "min": 0.95}}
STRATEGIES["Recreate evaluated"] = STRATEGIES["RollingUpdate evaluated"]
OF_A_STRATEGY = {key for fields in STRATEGIES.values() for key in fields}
VERBS = [*Verb, Verb.PROMOTE, Verb.PROMOTE_FULL, Verb.ABORT]

Op = tuple[str, str, object]

faults = st.sampled_from([Fault.NONE, Fault.NONE, *Fault])
names = st.sampled_from((*MODELS[:1] * 4, *MODELS, f"{BESIDE}/digits", f"{BESIDE}/digits"))


def op(kind: str, argument: st.SearchStrategy[object]) -> st.SearchStrategy[Op]:
    return st.tuples(st.just(kind), names, argument)


# What can happen between the reads of a pass and its write: then it decides by a world that is no more.
MEANWHILE = st.one_of(
    op("tick", st.integers(1, 3)),
    op("uri", st.sampled_from(URIS)),
    op("replicas", st.sampled_from((0, 1, 3))),
    op("ends", st.sampled_from(("suspend", "resume", "delete"))),
    op("kill", st.sampled_from((0, 1, ALL))),
    op("gateway", st.integers(0, 1)),
    op("lose ray", st.none()),
    op("wait", st.sampled_from((20, 61))),
    op("ask", st.tuples(st.sampled_from(VERBS), st.integers(0, 4))),
)
RAY_FAULTS = (
    *(Fault.NONE, Fault.RAY_UNREAD, Fault.RAY_EMPTY),
    *(Fault.REFUSED, Fault.CRASH_BEFORE_WRITE, Fault.CRASH_AFTER_WRITE),
)

STEPS = st.one_of(
    # What moves a rollout on, or changes its mind, is drawn more often than what ends it.
    *(op("rounds", st.integers(1, most)) for most in (2, 4, 8)),
    *(op("uri", st.sampled_from(uris)) for uris in (GOOD, URIS)),
    *(op("pass", faults) for _ in range(2)),
    op("slow pass", st.tuples(faults, MEANWHILE)),
    op("ray", st.sampled_from(RAY_FAULTS)),
    op("slow ray", st.one_of(MEANWHILE, op("pass", faults))),
    op("tick", st.integers(1, 3)),
    op("gateway", st.integers(0, 1)),
    op("stuck", st.integers(0, 1)),
    op("unread", st.integers(0, 1)),
    op("busy", st.integers(0, 1)),
    *(op("send", st.sampled_from((10, 400, 4000))) for _ in range(2)),
    op("agent", st.integers(0, 1)),
    op("away", st.booleans()),
    op("label", st.tuples(st.integers(1, 4), st.booleans())),
    op("replicas", st.sampled_from((1, 2, 3, 0, 40))),
    op("scaling", st.sampled_from((None, (1, 4), (2, 3), (3, 3)))),
    op("load", st.tuples(st.integers(1, 4), st.integers(0, 6))),
    op("ends", st.sampled_from(("suspend", "resume", "delete"))),
    op("pause", st.booleans()),
    op("allow", st.booleans()),
    op("lose ray", st.none()),
    op("outage", st.sampled_from(sorted(Outage))),
    *(op("outages end", st.none()) for _ in range(2)),
    op("move", st.sampled_from(CLUSTERS)),
    op("prune", st.sampled_from(PRUNED)),
    op("crd", st.none()),
    op("clock", st.sampled_from((-3600, 3600))),
    op("cores", st.sampled_from((None, 1.0, 2.5, 100.0))),
    op("kill", st.sampled_from((0, 1, 2, ALL))),
    op("wait", st.sampled_from((20, 61, 700))),
    op("strategy", st.sampled_from(sorted(STRATEGIES))),
    # A request is drawn with what it was meant for: mostly what is there, at times what was.
    *(op("ask", st.tuples(st.sampled_from(VERBS), st.integers(0, 4))) for _ in range(3)),
)


def fresh() -> VirtualWorld:
    """Two namespaces of one operator; the first has two Ray clusters."""
    world = VirtualWorld(clusters=CLUSTERS, has_drafts=True)
    VirtualWorld(namespace=BESIDE, beside=world)
    return world


def tell(world: VirtualWorld, story: list[Op]) -> None:
    for kind, name, argument in story:
        step(world, kind, name, argument)


def rounds(world: VirtualWorld, name: str, count: int) -> None:
    for _ in range(count):
        world.pass_model(name)
        world.pass_every_ray()
        world.tick()


def kill(world: VirtualWorld, number: int) -> None:
    """One replica of an application, or all of the last."""
    for application in (
        sorted(world.applications)[number : number + 1] if number != ALL else list(world.applications)[-1:]
    ):
        for _ in range(1 if number != ALL else world.applications[application].running):
            world.kill_replica(application)


def ask(world: VirtualWorld, name: str, verb: Verb, number: int) -> None:
    """Number 0 is what is there now, another is meant for, or goes back to, that revision or step."""
    if name not in world.models:
        return
    if verb is Verb.ROLLBACK:
        world.ask(name, verb, number=number or None)
    elif number < 2:
        world.ask(name, verb, step=number or None)
    else:
        known = world.models[name].revisions.values()
        world.ask(name, verb, revision=next((r.revision for r in known if r.number == number), "0" * 10))


def set_strategy(world: VirtualWorld, name: str, strategy: str) -> None:
    spec = copy.deepcopy(world.models[name].spec)
    rollout = {key: value for key, value in spec["rollout"].items() if key not in OF_A_STRATEGY}
    spec["rollout"] = {**rollout, "strategy": strategy.split()[0], **STRATEGIES[strategy]}
    world.apply(name, **spec)


def set_scaling(world: VirtualWorld, name: str, bounds: Any) -> None:
    spec = copy.deepcopy(world.models[name].spec)
    fixed = {"replicas": spec.get("scaling", {}).get("replicas", 1)}
    if bounds is not None:
        least, most = bounds
        fixed |= {"minReplicas": least, "maxReplicas": most, "target": {"ongoingRequests": 4}}
    world.apply(name, **{**spec, "scaling": fixed})


def label(world: VirtualWorld, name: str, number: int, is_right: bool) -> None:
    """True labels for what a revision predicted, nine of ten right or every second one."""
    for revision in world.models[name].revisions.values() if name in world.models else ():
        if revision.number == number:
            world.label(name, revision.revision, right=450 if is_right else 250, wrong=50 if is_right else 250)


def stick(world: VirtualWorld, number: int) -> None:
    gateway = world.gateways[number]
    gateway.is_stuck = not gateway.is_stuck


def jump(world: VirtualWorld, seconds: int) -> None:
    world.now += datetime.timedelta(seconds=seconds)


def slow_pass(world: VirtualWorld, name: str, fault: Fault, meanwhile: Op) -> None:
    world.pass_model(name, fault, lambda: step(world, *meanwhile))


def move(world: VirtualWorld, cluster: str) -> None:
    """New revisions go to another Ray cluster; a namespace that has one stays there."""
    world.placement = cluster if cluster in world.clusters else world.placement


DEEDS: dict[str, Callable[[VirtualWorld, str, Any], object]] = {
    "pass": lambda world, name, fault: world.pass_model(name, fault),
    "rounds": rounds,
    "slow pass": lambda world, name, fault_and_op: slow_pass(world, name, *fault_and_op),
    "ray": lambda world, name, fault: world.pass_ray(fault, cluster=world.placement),
    "slow ray": lambda world, name, meanwhile: world.pass_ray(
        meanwhile=lambda: step(world, *meanwhile), cluster=world.placement
    ),
    "move": lambda world, name, cluster: move(world, cluster),
    "prune": lambda world, name, path: setattr(world, "pruned", world.pruned | {path}),
    "crd": lambda world, name, nothing: setattr(world, "pruned", frozenset()),
    "tick": lambda world, name, seconds: world.tick(seconds),
    "unread": lambda world, name, number: setattr(world.gateways[number], "is_away", True),
    "gateway": lambda world, name, number: world.take_routes(world.gateways[number]),
    "lose ray": lambda world, name, nothing: world.lose_ray(world.placement),
    "outage": lambda world, name, outage: world.begin(Outage(outage)),
    "outages end": lambda world, name, nothing: world.end_outages(),
    "clock": lambda world, name, seconds: jump(world, seconds),
    "kill": lambda world, name, number: kill(world, number),
    "wait": lambda world, name, seconds: world.advance(seconds),
    "stuck": lambda world, name, number: stick(world, number),
    "ask": lambda world, name, request: ask(world, name, *request),
    "send": lambda world, name, requests: [world.send(gateway, requests) for gateway in world.gateways],
    "agent": lambda world, name, number: world.restart_agent(world.gateways[number]),
    "away": lambda world, name, is_away: setattr(world, "measurements_are_away", is_away),
    "label": lambda world, name, labels: label(world, name, *labels),
    "cores": lambda world, name, cores: setattr(world, "cores", cores),
    "load": lambda world, name, number_and_replicas: world.aim(name, *number_and_replicas),
    "busy": lambda world, name, number: world.occupy(world.gateways[number]),
}
PATHS = {
    "uri": "model.uri",
    "replicas": "scaling.replicas",
    "pause": "rollout.paused",
    "allow": "rollout.allowSignatureChange",
}


def step(first: VirtualWorld, kind: str, name: str, argument: object) -> None:
    world, name = first.namespaced(name)
    if kind in DEEDS:
        DEEDS[kind](world, name, argument)
        return
    if name not in world.models:
        world.apply(name, model={"uri": URIS[0]}, rollout={"progressDeadlineSeconds": 30})
    if kind == "ends":
        world.delete(name) if argument == "delete" else world.change(name, "suspend", argument == "suspend")
    elif kind == "scaling":
        set_scaling(world, name, argument)
    elif kind == "strategy":
        set_strategy(world, name, str(argument))
    else:
        world.change(name, PATHS[kind], argument)


def forget_what_was_done(world: VirtualWorld) -> None:
    """It is copied for every story."""
    for one in world.all:
        one.plans.clear()
        one.events.clear()
        one.writes.clear()
        for stored in one.models.values():
            stored.viewed = None


@functools.cache
def served() -> VirtualWorld:
    world = fresh()
    for one in world.all:
        one.apply("digits", model={"uri": URIS[0]}, rollout={"progressDeadlineSeconds": 30}, scaling={"replicas": 2})
    world.settle()
    forget_what_was_done(world)
    return world


@functools.cache
def halfway() -> VirtualWorld:
    """A Canary's second revision, at 50 %, waiting to be promoted."""
    world = copy.deepcopy(served())
    set_strategy(world, "digits", "Canary")
    world.change("digits", "model.uri", URIS[1])
    world.settle()
    forget_what_was_done(world)
    return world


@functools.cache
def rolled_back() -> VirtualWorld:
    """The second revision was stable and was left for the first by request."""
    world = copy.deepcopy(halfway())
    world.ask("digits", Verb.PROMOTE_FULL)
    world.settle()
    world.ask("digits", Verb.ROLLBACK)
    world.settle()
    forget_what_was_done(world)
    return world


@functools.cache
def watched() -> VirtualWorld:
    """The second revision was promoted a moment ago, and the first stays warm."""
    return promoted("RollingUpdate and watched", URIS[1])


@functools.cache
def watched_and_analysed() -> VirtualWorld:
    """The same after an analysis that goes on; the second revision fails requests of clients, as was measured once."""
    world = promoted("Canary watched", "file:///m/souring")
    world.load = 400
    while (rollout := recall(world.view("digits").status).rollout) is None or rollout.analysis is None:
        rounds(world, "digits", 1)
    forget_what_was_done(world)
    return world


def promoted(strategy: str, uri: str) -> VirtualWorld:
    world = copy.deepcopy(served())
    set_strategy(world, "digits", strategy)
    world.load = 400
    world.change("digits", "model.uri", uri)
    for _ in range(100):
        if (rollout := recall(world.view("digits").status).rollout) and rollout.phase is RolloutPhase.WATCHING:
            break
        rounds(world, "digits", 1)
    world.load = 0
    forget_what_was_done(world)
    return world


def under_way(
    strategy: str, is_there: Callable[[Rollout], bool], *, uri: str = URIS[1], load: int = 400
) -> VirtualWorld:
    """A second revision that has come so far by this strategy, while clients send."""
    world = copy.deepcopy(served())
    world.load = load
    set_strategy(world, "digits", strategy)
    world.change("digits", "scaling.replicas", 3)
    rounds(world, "digits", 8)
    world.change("digits", "model.uri", uri)
    for _ in range(100):
        if (rollout := recall(world.view("digits").status).rollout) and is_there(rollout):
            break
        rounds(world, "digits", 1)
    else:
        raise AssertionError(f"{strategy} never comes there: {world.plans[-1]}")
    forget_what_was_done(world)
    return world


@functools.cache
def analysed() -> VirtualWorld:
    return under_way("Canary analysed", lambda rollout: rollout.analysis is not None)


@functools.cache
def failing_before_requests() -> VirtualWorld:
    """A second revision that fails clients' requests has its first weight, and nobody has sent a request yet."""
    is_there = functools.partial(_is_at_step, number=1)
    return under_way("Canary analysed", is_there, uri="file:///m/failing", load=0)


def _is_at_step(rollout: Rollout, *, number: int) -> bool:
    return rollout.phase is RolloutPhase.SHIFTING and rollout.step == number


@functools.cache
def failing_and_unread() -> VirtualWorld:
    """The same while clients send requests, and one gateway can't be read."""
    return with_an_unread_gateway(failing_before_requests())


@functools.cache
def souring_and_unread() -> VirtualWorld:
    """A promoted revision that fails clients' requests, the one before still warm, and one gateway can't be read."""
    return with_an_unread_gateway(watched_and_analysed())


def with_an_unread_gateway(start: VirtualWorld) -> VirtualWorld:
    """A copy in which clients send requests, and one gateway can't be read."""
    world = copy.deepcopy(start)
    world.load = 20
    world.gateways[1].is_away = True
    return world


@functools.cache
def shadowed() -> VirtualWorld:
    return under_way("Shadow analysed", lambda rollout: rollout.analysis is not None)


@functools.cache
def in_batches() -> VirtualWorld:
    return under_way("RollingUpdate in batches", lambda rollout: rollout.weight > 0)


@functools.cache
def cramped() -> VirtualWorld:
    """There is no room for a second revision beside the first, which would stop for it."""
    world = copy.deepcopy(served())
    set_strategy(world, "digits", "RollingUpdate or else Recreate")
    world.cores = sum(app.target * app.cores for app in world.applications.values())
    world.settle()
    forget_what_was_done(world)
    return world


STARTS = {
    "analysed": analysed,
    "failing and unread": failing_and_unread,
    "souring and unread": souring_and_unread,
    "shadowed": shadowed,
    "in batches": in_batches,
    "cramped": cramped,
    "fresh": fresh,
    "served": served,
    "halfway": halfway,
    "rolled back": rolled_back,
    "watched": watched,
    "watched and analysed": watched_and_analysed,
}


def expect_desired_state(world: VirtualWorld) -> None:
    """At rest: route, gateways and replicas are those of the stable revision, and that is the best there can be."""
    for one in world.all:
        expect_desired_state_of(one)


def expect_desired_state_of(world: VirtualWorld) -> None:
    """The same of one namespace."""
    running = {name: app.running for name, app in world.applications.items()}
    expected: dict[str, int] = {}
    for name, stored in world.models.items():
        view = world.view(name)
        serving = recall(view.status)
        desired = build.build(view, tuple(stored.revisions.values()), world.bounds, cluster=world.placement)
        assert not isinstance(desired, InvalidSpec)
        weights = RouteText(text=world.routes[name]).weights() if name in world.routes else {}
        if desired.suspended or desired.replicas == 0:
            assert weights == {}
            continue
        if serving.candidate is not None:
            assert is_held(desired, serving), f"{name} rests with a candidate: {serving}"
            return
        failed = serving.quarantined(desired.target)
        reasons = {condition.reason for condition in view.status.conditions}
        waits_for_room = world.cores is not None and Reason.INSUFFICIENT_CAPACITY in reasons
        # A CRD without the quarantine takes the entry of a rollback; what the person chose stays in `rollback`.
        chosen = serving.rollback
        is_chosen = chosen is not None and (chosen.revision, chosen.instead_of) == (serving.stable, desired.target)
        assert failed is not None or serving.stable == desired.target or waits_for_room or is_chosen
        assert (
            failed is None
            or failed.is_by_request
            or view.spec.model.uri not in GOOD
            or (serving.stable != desired.target)
        )
        if serving.stable is not None:
            stable = desired.revisions[serving.stable].application
            kept = stable.replicas if stable is not None and stable.keeps_more else desired.replicas
            expected[f"{world.namespace}--{name}--{serving.stable}"] = kept
            assert weights == {serving.stable: FULL_WEIGHT}
            entry = json.loads(world.routes[name])
            assert list(entry["revisions"]) == [serving.stable]
            assert not {"match", "sticky", "shadow"} & set(entry)
    assert running == expected
    assert set(world.routes) <= set(world.models)
    assert all(gateway.routes == world.routes for gateway in world.gateways)


def is_held(desired: Desired, serving: Serving) -> bool:
    """Whether a rollout may rest with a candidate: somebody holds it, or a step waits for somebody."""
    rollout = serving.rollout
    if rollout is None:
        return False
    step = desired.steps[rollout.step] if rollout.step < len(desired.steps) else None
    waits = step == Pause(duration_s=None) and rollout.phase is RolloutPhase.SHIFTING
    breaks = bool(rollout.signature_changes) and not desired.allow_signature_change
    return desired.paused or rollout.paused_by_request or waits or breaks or is_unmeasured(step, rollout)


def is_unmeasured(step: Step | None, rollout: Rollout) -> bool:
    """Nobody sends requests any more, so what they would show is never known: a person is waited for, or they are."""
    is_inconclusive = rollout.analysis is not None and rollout.analysis.phase is AnalysisPhase.INCONCLUSIVE
    return rollout.phase is RolloutPhase.SHIFTING and (is_inconclusive or isinstance(step, MinSamples))


def rest(world: VirtualWorld) -> None:
    """Comes to rest once faults stop and nobody sends requests; then nothing is written any more."""
    for one in world.all:
        one.load = 0
    world.settle()
    expect_desired_state(world)
    for one in world.all:
        expect_no_write(one)


def expect_no_write(world: VirtualWorld) -> None:
    """Whether or not the operator is restarted."""
    writes = len(world.writes)
    for name in list(world.models):
        world.pass_model(name)
        world.pass_model(name, Fault.CRASH_AFTER_WRITE)
    world.pass_every_ray()
    assert len(world.writes) == writes, world.writes[writes:]


STEPS_WANTED = int(os.environ.get("FAIRLEAD_MODEL_STEPS", "10000" if nightly.is_chosen() else "5000"))
SEED = os.environ.get("FAIRLEAD_MODEL_SEED")
STORIES_AT_ONCE = 250
REST_OF = 32


def set_steps(world: VirtualWorld) -> None:
    for one in world.all:
        one.steps = 0


def steps_of(world: VirtualWorld) -> int:
    return sum(one.steps for one in world.all)


@dataclass
class RecordingReporter:
    """``steps`` are those of the stories, with faults; ``steps_to_rest`` those of the calm after some of them."""

    stories: int = 0
    steps: int = 0
    steps_to_rest: int = 0


def check(counts: RecordingReporter, seed_number: int) -> None:
    """Plays stories of one seed; one in ``REST_OF`` is followed until the world is at rest in the desired state."""

    @seed(seed_number)
    @settings(max_examples=STORIES_AT_ONCE, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        story=st.lists(STEPS, min_size=10, max_size=40),
        start=st.sampled_from(sorted(STARTS)),
        comes_to_rest=st.integers(1, REST_OF),
    )
    def stories(story: list[Op], start: str, comes_to_rest: int) -> None:
        world = copy.deepcopy(STARTS[start]())
        set_steps(world)
        try:
            tell(world, story)
        finally:
            counts.stories += 1
            counts.steps += steps_of(world)
        if comes_to_rest == 1:
            set_steps(world)
            rest(world)
            counts.steps_to_rest += steps_of(world)

    stories()


@pytest.mark.timeout(7200)
def test_no_story_breaks_an_invariant(record_property: Callable[[str, object], None]) -> None:
    counts, seed_number = RecordingReporter(), int(SEED) if SEED is not None else 0
    while counts.steps < STEPS_WANTED:
        check(counts, seed_number)
        seed_number += 1
    record_property("model", dataclasses.asdict(counts))
    print(f"model check: {counts.stories} stories, {counts.steps} steps, {counts.steps_to_rest} more to rest")
    assert counts.steps >= STEPS_WANTED


def test_batches_of_a_model_that_was_scaled_down_in_the_middle_go_back() -> None:
    """The stable revision had no replica left, and none was started on the way back. Found with the seed 9500."""
    world = copy.deepcopy(STARTS["in batches"]())
    rounds_of_one: Op = ("rounds", "digits", 1)
    down: list[Op] = [("uri", "digits", URIS[1]), ("replicas", "digits", 1)]
    reverted: list[Op] = [("uri", "digits", URIS[0])]
    tell(world, [rounds_of_one, *down, *[rounds_of_one] * 3, *reverted, *[rounds_of_one] * 3])
    rest(world)
    stable = recall(world.view("digits").status).stable
    assert world.view("digits").spec.model.uri == URIS[0]
    assert RouteText(text=world.routes["digits"]).weights() == {stable: FULL_WEIGHT}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(story=st.lists(STEPS, min_size=3, max_size=14), start=st.sampled_from(sorted(STARTS)))
@example(story=[("uri", "digits", URIS[1]), ("rounds", "digits", 9), ("lose ray", "digits", None)], start="served")
@example(story=[("strategy", "digits", "Recreate"), ("uri", "digits", URIS[3])], start="served")
@example(story=[("prune", "digits", "rollout.proved"), *[("rounds", "digits", 1)] * 4], start="shadowed")
@example(
    story=[
        *[("kill", "digits", 0)] * 2,
        ("outage", "digits", Outage.STORE),
        ("rounds", "digits", 1),
        ("kill", "digits", 0),
    ],
    start="analysed",
)
@example(
    story=[*[("rounds", "digits", 1)] * 2, ("replicas", "digits", 40), ("move", "digits", "new")], start="in batches"
)
@example(story=[SLOW_RAY_THAT_IS_LOST, ("move", "digits", "new"), *[("rounds", "digits", 1)] * 8], start="analysed")
def test_every_story_comes_to_rest_in_the_desired_state_once_faults_stop(story: list[Op], start: str) -> None:
    world = copy.deepcopy(STARTS[start]())
    tell(world, story)
    rest(world)
