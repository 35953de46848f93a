"""One pass's decision: the first decider in the list that has something to do or to wait for decides."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from fairlead_operator.api import names
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.plan import requests
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import advance, forgotten, idle
from fairlead_operator.plan.upkeep import attempts, revisions, steady, suspension, teardown
from fairlead_operator.state.actions import AddFinalizer, Plan, Prove, Wait
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.consequences import consequence_of, with_advice
from fairlead_operator.state.desired import Desired
from fairlead_operator.state.knowledge import Absent, Known
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, Observed
from fairlead_operator.state.reasons import Reason

Decider = Callable[[Context], Plan | None]

MEMORY = frozenset(
    {
        "rollout",
        "quarantine",
        "attempts",
        "handledRequest",
        "rollback",
        "stableRevision",
        "candidateRevision",
        "atZeroSince",
    }
)
"""The fields of the status that later passes decide by; the others only report."""


def _require_infrastructure(context: Context) -> Plan | None:
    """Waits where the namespace can't be given what models need; a model that runs already goes on."""
    problem = context.observed.problem
    if problem is None or context.serving.active:
        return None
    return context.wait(problem.reason, problem.message, requeue_after_s=context.bounds.resync_s)


def _require_cluster_and_gateway(context: Context) -> Plan | None:
    """Waits where nothing of the model runs and there is no place for it, or where there is no gateway."""
    namespace = context.observed.key.namespace
    if not context.serving.active and (waits := _without_place(context)) is not None:
        return waits
    if isinstance(context.observed.gateways, Absent):
        message = f"No gateway is configured for namespace {namespace}."
        return context.wait(Reason.NO_GATEWAY, message, requeue_after_s=context.bounds.resync_s)
    return None


def _require_place(context: Context) -> Plan | None:
    """What runs goes on where it is; a new revision waits until it is known where it goes."""
    return None if context.desired.target in context.desired.revisions else _without_place(context)


def _require_class(context: Context) -> Plan | None:
    """A class that is not there is said of a model that serves too: its owner meant to move it."""
    view, unplaced = context.observed.object, context.observed.unplaced
    if unplaced is None or unplaced.reason is not Reason.NO_SERVING_CLASS or not isinstance(view, Known):
        return None
    spec = view.value.spec
    names_one = isinstance(spec, ModelDeploymentSpec) and spec.cluster.class_name is not None
    return _without_place(context) if names_one else None


def _without_place(context: Context) -> Plan | None:
    unplaced = context.observed.unplaced
    if unplaced is None:
        return None
    is_stalled = consequence_of(unplaced.reason).is_stalled
    later_s = context.bounds.resync_s if is_stalled else context.bounds.unknown_s
    return context.wait(unplaced.reason, unplaced.message, requeue_after_s=later_s)


DECIDERS: tuple[Decider, ...] = (
    # What keeps the operator from making a Ray cluster and a gateway is said before that there are none.
    _require_infrastructure,
    # Without a Ray cluster or a gateway nothing below can be done or proved.
    _require_cluster_and_gateway,
    # What a person asked for goes before what the spec says of it, and is refused when it is too late.
    requests.decide,
    # A suspended object gives up its traffic first and its replicas then; what was begun is finished before a resume.
    suspension.decide,
    # What serves is looked after before anything moves on: Ray alone is needed for that.
    attempts.restart_stable,
    # So is a model at zero: its requests need no new revision, nor a place for one.
    idle.wake,
    _require_place,
    # The desired revision is kept before anything refers to it.
    revisions.decide,
    # The history is trimmed while rollouts follow each other, too: what has no place in one is free to go.
    revisions.trim_history,
    # One step of the rollout, or its beginning.
    advance.decide,
    # Without requests the last replicas go.
    idle.fall_idle,
    # Nothing is being rolled out: the stable revision's route and replicas are as they should be.
    steady.decide,
    # Nothing is left to do for what serves, and the class that it should move to is not there.
    _require_class,
)


def make(desired: Desired | InvalidSpec | Absent, observed: Observed, bounds: Bounds, now: datetime.datetime) -> Plan:
    """The plan of one pass of a model: at most one outside write, always a reason.

    ``desired`` is Absent when the object is gone, InvalidSpec when its spec can't be read: neither stops a deletion.
    """
    if isinstance(observed.object, Absent) or isinstance(desired, Absent):
        return teardown.after_the_object(observed, bounds)
    view = observed.object.value
    if view.is_deleting:
        return teardown.decide(view, observed, bounds)
    if view.status_problem is not None:
        return _unreadable_status(view.status_problem, view, observed, bounds)
    if isinstance(desired, InvalidSpec):
        return _unreadable(desired, view, observed, bounds)
    if names.FINALIZER not in view.finalizers:
        return _adopt(view, observed, bounds)
    context = Context(desired=desired, observed=observed, serving=view.serving, bounds=bounds, now=now)
    restored = forgotten.restore(context)
    return forgotten.announce(restored, view.serving) or forgotten.hold(restored, view.serving, _first(restored))


def _first(context: Context) -> Plan:
    for decide in DECIDERS:
        if (plan := decide(context)) is not None:
            return attempts.watch_stable(context, _hold_what_is_forgotten(context, plan))
    return steady.rest(context)


def _hold_what_is_forgotten(context: Context, plan: Plan) -> Plan:
    """Begin nothing whose end the status could not keep.

    A quarantine that the API server drops would let a failed revision begin again, a proof would be asked for again
    and again. What serves is looked after, and a candidate that is worse is still withdrawn.
    """
    dropped = [path for path in context.observed.dropped_fields if path.partition(".")[0] in MEMORY]
    begins = context.serving.candidate is None and plan.serving.candidate is not None
    if not dropped or not (begins or isinstance(plan.action, Prove)):
        return plan
    return forgotten.hold_beginning(context, dropped[0]) if begins else forgotten.outdated(context, dropped[0])


def _unreadable(invalid: InvalidSpec, view: ModelDeploymentView, observed: Observed, bounds: Bounds) -> Plan:
    return Plan(
        key=observed.key,
        action=Wait(),
        serving=view.serving,
        reason=Reason.INVALID_SPEC,
        message=with_advice(
            Reason.INVALID_SPEC,
            f"Cannot read the spec, so the operator changes nothing: {invalid.message}",
            name=observed.key.name,
        ),
        requeue_after_s=bounds.resync_s,
    )


def _unreadable_status(problem: str, view: ModelDeploymentView, observed: Observed, bounds: Bounds) -> Plan:
    return Plan(
        key=observed.key,
        action=Wait(),
        serving=view.serving,
        reason=Reason.STATUS_UNREADABLE,
        message=with_advice(
            Reason.STATUS_UNREADABLE,
            f"This version of the operator can't read the status, so it changes nothing: {problem}",
            name=observed.key.name,
        ),
        requeue_after_s=bounds.resync_s,
    )


def _adopt(view: ModelDeploymentView, observed: Observed, bounds: Bounds) -> Plan:
    return Plan(
        key=observed.key,
        action=AddFinalizer(resource_version=view.resource_version, finalizers=(*view.finalizers, names.FINALIZER)),
        serving=view.serving,
        reason=Reason.INITIALIZING,
        message="Adding the finalizer.",
        requeue_after_s=bounds.poll_s,
    )
