"""What must hold of every plan and every write, whatever happened before; and what must hold in the end.

The invariants are those that the design promises; ``VirtualWorld`` checks them at each step of every test that uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead_operator.api.analysis_status import AnalysisPhase
from fairlead_operator.api.counts import Sums
from fairlead_operator.api.status import Rollout, RolloutPhase
from fairlead_operator.api.text import MESSAGE_MAX
from fairlead_operator.desired import revision as revisions
from fairlead_operator.state import actions
from fairlead_operator.state.knowledge import Absent, Known, Unknown
from fairlead_operator.state.observed import InvalidSpec, Observed
from fairlead_operator.state.rollout import Serving, recall
from fairlead_operator.state.route import BY_WEIGHT, FULL_WEIGHT, GatewayView, RouteEntry
from fairlead_operator.state.time import elapsed_s

DRAIN_S = 60
DELETION_S = 25
STATUS_MAX_BYTES = 32 * 1024


class Violation(AssertionError):
    """An invariant was broken."""


def hold(is_true: bool, what: str) -> None:
    if not is_true:
        raise Violation(what)


def check_plan(observed: Observed, plan: actions.Plan) -> None:
    """Everything that can be said of a plan and the snapshot it was made from."""
    before = recall(observed.object.value.status) if isinstance(observed.object, Known) else Serving()
    changes = plan.serving != before
    hold(bool(plan.message) and len(plan.message) <= MESSAGE_MAX, f"no or too long a message: {plan}")
    hold(plan.requeue_after_s >= 0, f"requeued into the past: {plan}")
    hold(
        not changes
        or isinstance(plan.action, actions.Wait | actions.NudgeServe)
        or isinstance(observed.object, Absent),
        f"announces a step and takes one: {plan}",
    )
    _check_serving(plan.serving)
    _check_unknown(observed, before, plan)
    _check_unmeasured(observed, before, plan)
    _check_afterwards(observed, before, plan)
    if isinstance(plan.action, actions.WriteRoute):
        _check_route(observed, plan.action.entry)


def _check_serving(serving: Serving) -> None:
    places = [r for r in (serving.stable, serving.candidate, serving.leaving) if r is not None]
    hold(len(places) == len(set(places)), f"one revision has two places: {serving}")
    hold(len(places) <= 2, f"more than two revisions have a place: {serving}")
    weight = serving.rollout.weight if serving.rollout is not None else 0
    hold(0 <= weight <= FULL_WEIGHT, f"a weight of {weight}")
    hold(serving.candidate is not None or weight == 0, f"a weight for no candidate: {serving}")


def _check_unknown(observed: Observed, before: Serving, plan: actions.Plan) -> None:
    """UNKNOWN leads to nothing destructive and moves no traffic."""
    if _is_overdue(observed):
        return
    after, action = plan.serving, plan.action
    given_up = set(before.active) - set(after.active)
    if _ready_gateways(observed) is None:
        hold(not given_up, f"gives up {given_up} while a gateway is unread: {plan}")
        is_return = before.phase is RolloutPhase.WATCHING and after.stable == before.leaving
        kept = after.stable in (before.stable, None) or before.stable is None or is_return
        hold(kept, f"promotes while unread: {plan}")
        hold(not is_return or _is_ready_where_read(observed, str(after.stable)), f"goes back to what isn't up: {plan}")
        hold(not isinstance(action, actions.RemoveFinalizer), f"lets go while a gateway is unread: {plan}")
    if isinstance(observed.route, Unknown):
        hold(
            not isinstance(action, actions.WriteRoute | actions.RetireRoute | actions.DeleteRoute),
            f"writes an unread table: {plan}",
        )
        hold(not given_up, f"gives up {given_up} while the table is unread: {plan}")
    if any(isinstance(observed.serve_on(cluster), Unknown) for cluster in observed.clusters):
        hold(
            not isinstance(action, actions.RemoveFinalizer | actions.DeleteRevision),
            f"destroys while Ray is unread: {plan}",
        )
        # What gateways counted of a candidate is theirs to tell: then Ray isn't asked.
        counted = "AnalysisFailed" if before.candidate is not None and _answering(observed) else None
        new = [q for q in after.quarantine if q not in before.quarantine and not q.is_by_request]
        condemned = [q for q in new if q.reason != counted]
        hold(not condemned or _proof_failed(before), f"condemns while unread: {plan}")


def _is_overdue(observed: Observed) -> bool:
    """A deletion that has waited for what can't be read, pass by pass and with the time in the status."""
    if not isinstance(observed.object, Known) or not observed.object.value.is_deleting:
        return False
    rollout = observed.object.value.status.rollout
    return rollout is not None and rollout.progress_s >= DELETION_S - 10


def _check_unmeasured(observed: Observed, before: Serving, plan: actions.Plan) -> None:
    """Without all measurements no step of an analysed rollout ends by itself; without any no candidate is condemned."""
    if before.rollout is None or before.candidate is None or not isinstance(observed.object, Known):
        return
    spec, measured = observed.object.value.spec, observed.measured
    if isinstance(spec, InvalidSpec) or spec.rollout.analysis is None or spec.rollout.analysis.dry_run:
        return
    readings = measured.gateways.value if measured is not None and isinstance(measured.gateways, Known) else None
    is_whole = readings is not None and not readings.unread and _ready_gateways(observed) is not None
    if measured is None or is_whole or plan.serving.handled != before.handled:
        return
    after, count = plan.serving, len(spec.rollout.steps or ())
    is_way_back = before.rollback is not None and before.rollback.revision == before.candidate
    if before.rollout.step < count and not is_way_back:
        # None: the object is being deleted or suspended, and nobody is promoted.
        hold(after.stable in (before.stable, None), f"promotes what could not be measured: {plan}")
        moved = after.rollout is not None and after.rollout.step > before.rollout.step
        hold(not moved, f"takes another step though nothing could be measured: {plan}")
        new = [q for q in after.quarantine if q not in before.quarantine and q.reason == "AnalysisFailed"]
        read = {reading.gateway for reading in readings.read} if readings is not None else set()
        counted = read & {gateway.id for gateway in _answering(observed)}
        hold(not new or bool(counted), f"condemns by what could not be measured: {plan}")
        is_ready = before.stable is None or _is_ready_where_read(observed, before.stable)
        hold(not new or _ready_gateways(observed) is not None or is_ready, f"goes back to what isn't up: {plan}")


def _check_afterwards(observed: Observed, before: Serving, plan: actions.Plan) -> None:
    """Within the window a promoted revision goes by what is proved and remembered; beyond it nothing is counted."""
    rollout, after = before.rollout, plan.serving
    if rollout is None or rollout.phase is not RolloutPhase.WATCHING or not isinstance(observed.object, Known):
        return
    spec, run = observed.object.value.spec, after.rollout.analysis if after.rollout is not None else None
    if isinstance(spec, InvalidSpec):
        return
    window_s = spec.rollout.rollback_window.seconds if spec.rollout.rollback_window is not None else 0
    is_over = elapsed_s(rollout.step_started_at, observed.observed_at) > window_s
    if [q for q in after.quarantine if q not in before.quarantine and q.reason == "AnalysisFailed"]:
        _check_taken_back(observed, before, after)
        hold(not is_over and spec.rollout.analysis is not None, f"takes back beyond the window: {plan}")
        hold(spec.rollout.analysis is None or not spec.rollout.analysis.dry_run, f"a dry run takes back: {plan}")
    if after.phase is RolloutPhase.WATCHING and run is not None and run.sums != (kept := _sums(rollout)):
        measured = observed.measured.gateways if observed.measured is not None else None
        read = isinstance(measured, Known) and bool(measured.value.read)
        is_dropped = run.sums.candidate == kept.candidate and not run.sums.marks
        hold(is_dropped or (read and not is_over), f"counts what it did not read, or beyond the window: {plan}")


def _sums(rollout: Rollout) -> Sums:
    return rollout.analysis.sums if rollout.analysis is not None else Sums()


def _check_taken_back(observed: Observed, before: Serving, after: Serving) -> None:
    run = before.rollout.analysis if before.rollout is not None else None
    hold(after.stable == before.leaving, f"does not go back to the warm revision: {after}")
    hold(run is not None and run.phase is AnalysisPhase.FAILED, f"takes back what is not remembered as failed: {after}")
    cluster = next((r.cluster for r in observed.revisions if r.revision == before.stable), observed.placement)
    hold(isinstance(observed.serve_on(cluster), Known), f"condemns while unread: {after}")
    hold(before.quarantined(str(before.leaving)) is None, f"goes back to what failed itself: {after}")
    hold(_is_ready_where_read(observed, str(before.leaving)), f"goes back to what isn't ready: {after}")


def _proof_failed(before: Serving) -> bool:
    return before.rollout is not None and before.phase in (
        RolloutPhase.PROVING,
        RolloutPhase.CONNECTING,
        RolloutPhase.WIDENING,
    )


def _check_route(observed: Observed, entry: RouteEntry) -> None:
    weights = {r: entry.weight_of(r) for r in (entry.stable, entry.candidate) if r is not None}
    total = sum(weights.values())
    expected = FULL_WEIGHT if entry.stable is not None else 0
    hold(total == expected, f"weights sum to {total}: {entry}")
    hold(all(r in entry.revisions for r in weights), f"a weight on a revision without a backend: {entry}")
    _check_dropped(observed, entry)
    _check_routing(observed, entry)
    before: Mapping[str, int] = observed.route.value.weights() if isinstance(observed.route, Known) else {}
    for revision, weight in weights.items():
        if weight > before.get(revision, 0):
            is_held = entry.hold is not None and revision == entry.stable and _is_at_zero(observed)
            is_allowed = is_held or _is_seen_ready(observed, revision) or _is_last_resort(observed, revision)
            hold(is_allowed, f"raises {revision} to {weight} without a ready replica seen")


def _is_at_zero(observed: Observed) -> bool:
    """Whether the stable revision has no replica because it had no requests: those that come are held."""
    return isinstance(observed.object, Known) and observed.object.value.serving.at_zero_since is not None


def _is_last_resort(observed: Observed, revision: str) -> bool:
    """Nobody asks for the revisions that are here, so the stable one that isn't ready must not hold up the next."""
    if not isinstance(observed.object, Known) or isinstance(observed.object.value.spec, InvalidSpec):
        return False
    view = observed.object.value
    serving = recall(view.status)
    is_leaving = serving.phase in (RolloutPhase.WITHDRAWING, RolloutPhase.PROMOTING)
    return is_leaving and revision == serving.stable and not _is_asked_for(observed, serving)


def _is_asked_for(observed: Observed, serving: Serving) -> bool:
    view = observed.object.value if isinstance(observed.object, Known) else None
    if view is None or isinstance(view.spec, InvalidSpec):
        return True
    desired = revisions.revision_of(view.uid, revisions.template_of(view.spec), observed.placement)
    return desired in serving.active


def _check_routing(observed: Observed, entry: RouteEntry) -> None:
    """Nobody is led or shown to a candidate that is not proved, nor led to one without a ready replica."""
    if entry.routing == BY_WEIGHT:
        return
    serving = recall(observed.object.value.status) if isinstance(observed.object, Known) else Serving()
    rollout = serving.rollout
    hold(entry.candidate is not None and entry.stable is not None, f"nothing to choose between: {entry}")
    # An API server with another CRD may have removed either of the two, which are written together.
    is_proved = rollout is not None and (rollout.proved or rollout.proof_digest is not None)
    is_compared = is_proved and rollout is not None and rollout.phase is RolloutPhase.SHIFTING
    hold(is_compared and serving.candidate == entry.candidate, f"leads to a candidate that is not proved: {entry}")
    was_led = isinstance(observed.route, Known) and observed.route.value.is_matched(entry.candidate or "")
    if entry.routing.matches and not was_led:
        hold(_is_seen_ready(observed, entry.candidate or ""), f"leads to {entry.candidate} without a ready replica")


def _check_dropped(observed: Observed, entry: RouteEntry) -> None:
    """A backend goes only once its requests have ended (or took too long); a person asks for an emptied entry."""
    gateways = _ready_gateways(observed) or ()
    serving = recall(observed.object.value.status) if isinstance(observed.object, Known) else Serving()
    waited = elapsed_s(serving.rollout.started_at, observed.observed_at) if serving.rollout is not None else 0
    if not entry.revisions or waited > DRAIN_S:
        return
    for gateway in gateways:
        live = gateway.routes.get(observed.key.name)
        for revision, seen in (live.revisions if live is not None else {}).items():
            gone = revision not in entry.revisions
            hold(not gone or seen.sessions == 0, f"drops {revision}, which has requests in flight on {gateway.id}")


def _is_seen_ready(observed: Observed, revision: str) -> bool:
    key = observed.key
    name = f"{key.namespace}--{key.name}--{revision}"
    if any(view.name == name and view.running_replicas > 0 for _, view in observed.applications):
        return True
    view = observed.object.value if isinstance(observed.object, Known) else None
    serving = view.serving if view is not None else Serving()
    is_return = serving.phase is RolloutPhase.WITHDRAWING and revision == serving.stable
    is_enough = is_return or _ready_gateways(observed) is not None
    return is_enough and _is_ready_where_read(observed, revision)


def _is_ready_where_read(observed: Observed, revision: str) -> bool:
    """Whether every gateway that can be read, and at least one, sees a ready replica."""
    lives = [gateway.routes.get(observed.key.name) for gateway in _answering(observed)]
    ups = [live.revisions.get(revision) if live is not None else None for live in lives]
    return bool(ups) and all(up is not None and up.up > 0 for up in ups)


def _answering(observed: Observed) -> tuple[GatewayView, ...]:
    """The Ready gateways that could be read."""
    return observed.gateways.value.answering if isinstance(observed.gateways, Known) else ()


def _ready_gateways(observed: Observed) -> tuple[GatewayView, ...] | None:
    """None while one of them, or their list, could not be read."""
    return observed.gateways.value.ready if isinstance(observed.gateways, Known) else None


def check_put(
    *, running: Mapping[str, Mapping[str, Any]], desired: Mapping[str, Mapping[str, Any]], serving: Mapping[str, int]
) -> None:
    """A PUT takes nothing from a revision that gets requests, and restarts nothing in place.

    ``serving`` holds the applications whose revision has a weight in any gateway, with the replicas that their
    object still promises (0 where it asks for none).
    """
    for name, config in running.items():
        if name in desired:
            hold(_code(desired[name]) == _code(config), f"restarts {name} in place")
        if (promised := serving.get(name, 0)) == 0:
            continue
        hold(name in desired, f"stops {name}, which gets requests")
        floor = min(promised, replicas_of(config))
        hold(replicas_of(desired[name]) >= floor, f"scales {name} below the {floor} replicas that are promised")
    by_model: dict[str, list[str]] = {}
    for name in desired:
        by_model.setdefault(name.rsplit("--", 1)[0], []).append(name)
    hold(all(len(names) <= 2 for names in by_model.values()), f"three revisions of one model run: {by_model}")


def _code(config: Mapping[str, Any]) -> tuple[object, object]:
    """What Ray restarts replicas for: the arguments, and that there is an autoscaling policy."""
    return config["args"], (config["deployments"][0].get("autoscaling_config") or {}).get("policy")


def replicas_of(config: Mapping[str, Any]) -> int:
    """As many as Ray may keep: bounds alone take nothing away that is within them."""
    (replicas,) = {
        int(scaled["max_replicas"] if (scaled := each.get("autoscaling_config")) else each["num_replicas"])
        for each in config["deployments"]
    }
    return replicas
