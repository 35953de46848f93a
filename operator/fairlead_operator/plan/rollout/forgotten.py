"""A rollout that the status has lost: the CRD was replaced by an older one, which drops ``status.rollout``.

What is left to go by is the stored route, the gateways, and which revision is stable. Nothing new can be remembered
until the CRD is updated, so the way out has to follow from these facts alone, in each pass: the stable revision
gets all traffic, the other one drains, is removed from the gateways, and only then stops.
"""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import Rollout
from fairlead_operator.api.status import RolloutPhase as Phase
from fairlead_operator.plan import traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.upkeep import steady
from fairlead_operator.state.actions import Plan, Wait
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.observed import ROLLOUT_FIELD
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.route import FULL_WEIGHT, RouteText


def restore(context: Context) -> Context:
    """The context as if the status said that the other revision leaves; the same where nothing was lost."""
    if context.serving.rollout is not None:
        return context
    context = replace(context, serving=_with_stable(context))
    leaving = _find_leaving(context)
    if leaving is None:
        return context
    found = _in_phase(context, Phase.WITHDRAWING, leaving)
    return replace(found, serving=_in_phase(context, _find_phase(found, leaving), leaving).serving)


def announce(context: Context, stored: Serving) -> Plan | None:
    """Says first what was restored, as far as the status, ``stored``, can keep it; None where it says so."""
    serving = context.serving
    if context.observed.drops_rollout and stored.rollout is None:
        serving = _storable(context, stored, serving)
    if serving == stored:
        return None
    message = "The CRD was replaced by an older one during a rollout. The stable revision gets all traffic."
    return context.announce(serving, Reason.WITHDRAWING, message)


def hold(context: Context, stored: Serving, plan: Plan) -> Plan:
    """The plan without what the API server would drop; ``stored`` is what the status says.

    A step that only the status would announce is never taken.
    """
    if not context.observed.drops_rollout or stored.rollout is not None:
        return plan
    serving = _storable(context, stored, plan.serving)
    is_announced = isinstance(plan.action, Wait) and plan.requeue_after_s == 0.0
    if is_announced and serving == stored:
        held = hold_beginning(context, ROLLOUT_FIELD)
        return replace(held, serving=_storable(context, stored, held.serving))
    return replace(plan, serving=serving)


def hold_beginning(context: Context, field: str) -> Plan:
    """In place of a beginning: what serves is looked after."""
    is_idle = context.serving.rollout is None and not context.desired.suspended
    return (steady.decide(context) if is_idle else None) or outdated(context, field)


def outdated(context: Context, field: str) -> Plan:
    """Waits for a person to update the CRD."""
    message = f"The CRD is older than the operator: the API server drops status.{field}."
    return context.wait(Reason.CRD_OUTDATED, message, requeue_after_s=context.bounds.resync_s)


def _storable(context: Context, stored: Serving, planned: Serving) -> Serving:
    if planned.rollout is None:
        return planned
    return replace(
        planned,
        stable=context.serving.stable,
        candidate=stored.candidate if stored.candidate != context.serving.stable else None,
        last_stable=context.serving.last_stable,
        previous_stable=stored.previous_stable,
        rollout=None,
    )


def _with_stable(context: Context) -> Serving:
    """Where the rollout was one without a stable revision, what has all traffic is stable, else what was so last."""
    serving, route = context.serving, context.observed.route
    if serving.stable is not None or not context.observed.drops_rollout or context.desired.suspended:
        return serving
    weights = route.value.weights() if isinstance(route, Known) else {}
    routed = [revision for revision, weight in weights.items() if weight == FULL_WEIGHT]
    last = [serving.last_stable] if serving.last_stable is not None else []
    for revision in (*routed, *last):
        if revision in context.desired.revisions and serving.quarantined(revision) is None:
            candidate = serving.candidate if serving.candidate != revision else None
            return replace(serving, stable=revision, candidate=candidate, last_stable=revision)
    return serving


def _find_leaving(context: Context) -> str | None:
    """The candidate without a rollout, or the revision that the route names beside the stable one."""
    serving, route = context.serving, context.observed.route
    if serving.candidate is not None:
        return serving.candidate
    named = route.value.revisions if isinstance(route, Known) else ()
    return next((r for r in named if r != serving.stable and r in context.desired.revisions), None)


def _in_phase(context: Context, phase: Phase, leaving: str) -> Context:
    at = context.second
    rollout = Rollout(phase=phase, leaving=leaving, started_at=at, step_started_at=at, progress_at=at)
    return replace(context, serving=replace(context.serving, candidate=None, rollout=rollout))


def _find_phase(context: Context, leaving: str) -> Phase:
    """How far the way out has come. The context is that of a withdrawal."""
    route = context.observed.route.value if isinstance(context.observed.route, Known) else RouteText(text="")
    sessions = context.sessions(leaving)
    if leaving not in route.revisions:
        return Phase.WITHDRAWING if sessions else Phase.REMOVING
    if traffic.ensure(context, traffic.entry(context)) is not None:
        return Phase.WITHDRAWING
    return Phase.REMOVING if sessions == 0 else Phase.DRAINING
