"""The revision that should be stable in the end, and whether that changes the rollout that is under way."""

from __future__ import annotations

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.rollout import steps
from fairlead_operator.plan.verdict import Verdict
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.triggers import Trigger


def choose_revision(context: Context) -> str | None:
    """None while nothing can be aimed at: at zero replicas nothing could be proved, so what is stays."""
    serving, desired = context.serving, context.desired
    if desired.replicas == 0:
        return serving.stable
    chosen = context.rollback
    if chosen is not None and chosen in desired.revisions and serving.quarantined(chosen) is None:
        return chosen
    if serving.quarantined(desired.target) is None:
        return desired.target
    if serving.stable is not None:
        return serving.stable
    last = serving.last_stable
    if last is not None and last in desired.revisions and serving.quarantined(last) is None:
        return last
    return None


def find_change(context: Context) -> Verdict | None:
    """Whether the spec, or Ray's own life, changes the rollout in progress; the spec goes first."""
    serving, aimed = context.serving, choose_revision(context)
    if serving.candidate is not None and aimed != serving.candidate:
        return _withdraw(context, serving.candidate, aimed)
    if (
        not serving.rules.keeps_warm
        and serving.leaving is not None
        and aimed == serving.leaving
        and _is_kept(context, serving.leaving)
    ):
        message = f"{context.called(serving.leaving)} is desired again and still runs."
        return Verdict(trigger=Trigger.RETURNED, reason=Reason.ROLLOUT_STARTED, message=message)
    return _of_ray(context)


def _is_kept(context: Context, revision: str) -> bool:
    return revision in context.desired.revisions


def _withdraw(context: Context, candidate: str, aimed: str | None) -> Verdict:
    gone = f"Withdrawing {context.called(candidate)}"
    if aimed is not None and aimed == context.serving.stable:
        message = f"{gone}: {_wisher(context)} asks for {context.called(aimed)} again."
        if context.desired.replicas == 0:
            message = f"{gone}: spec.scaling.replicas is 0."
        return Verdict(trigger=_way_out(context, Trigger.REVERTED), reason=Reason.REVERTED, message=message)
    then = f"{_wisher(context)} asks for {context.called(aimed)}" if aimed is not None else "no revision is left to run"
    return Verdict(trigger=_way_out(context, Trigger.SUPERSEDED), reason=Reason.SUPERSEDED, message=f"{gone}: {then}.")


def _way_out(context: Context, trigger: Trigger) -> Trigger:
    return Trigger.RESTORE if steps.is_to_be_restored(context) else trigger


def _wisher(context: Context) -> str:
    return "the spec" if context.rollback is None else "a rollback"


def _of_ray(context: Context) -> Verdict | None:
    rollout = context.serving.rollout
    if rollout is None or not is_restarted(context, rollout):
        return None
    consequence = "The candidate is started again"
    if context.serving.rules.is_measured:
        consequence = "Traffic stays unchanged until they run again"
    message = f"Ray's head was restarted and lost every replica. {consequence}."
    return Verdict(trigger=Trigger.RAY_RESTARTED, reason=Reason.RAY_RESTARTED, message=message)


def is_restarted(context: Context, rollout: Rollout) -> bool:
    """Whether a Ray head has another life than when this began: the one of the revision that moved last.

    While both revisions have traffic, the other one's as well: what was measured of it says nothing any more.
    """
    moved = moved_last(context)
    others = context.serving.active if context.serving.rules.moves_traffic else ()
    clusters = {context.cluster_of(revision) for revision in (moved, *others) if revision is not None}
    return any(_has_another_life(context, rollout, cluster) for cluster in clusters)


def has_lost_replicas(context: Context, rollout: Rollout) -> bool:
    """Whether that head is the one of the revision that moved last."""
    moved = moved_last(context)
    return moved is not None and _has_another_life(context, rollout, context.cluster_of(moved))


def moved_last(context: Context) -> str | None:
    """The candidate or, once there is none, what was promoted."""
    return context.serving.candidate or context.serving.stable


def _has_another_life(context: Context, rollout: Rollout, cluster: str) -> bool:
    before, now = rollout.session_of(cluster), context.ray_sessions.get(cluster)
    return before is not None and now is not None and before != now
