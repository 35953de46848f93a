"""Whether a candidate has had its time: the progress deadline counts only time in which it could have got on.

The count is kept in the status and moved on by passes that saw everything in order (``rollout.progress``). Between two
of them at most ``CAP_TICKS`` ticks are counted, so neither an operator that was away nor a clock that jumped uses the
deadline up.
"""

from __future__ import annotations

from typing import assert_never

from fairlead_operator.api.status import Rollout, RolloutPhase
from fairlead_operator.api.text import one_line
from fairlead_operator.plan import failure, traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.verdict import Condemned
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.phases import Evidence
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT

TICK_MAX_S = 30.0
TICKS_OF_A_DEADLINE = 15
CAP_TICKS = 2


def tick_s(context: Context) -> float:
    """How often the count is written: rarely, as each is a write of the status."""
    return max(1.0, min(TICK_MAX_S, context.desired.progress_deadline_s / TICKS_OF_A_DEADLINE))


def counted_s(context: Context, rollout: Rollout) -> float:
    """Seconds in which the candidate could have got on, with those since the last count."""
    if rollout.progress_at is None:
        return rollout.progress_s
    since_s = (context.now - rollout.progress_at).total_seconds()
    return rollout.progress_s + max(0.0, min(since_s, CAP_TICKS * tick_s(context)))


def is_late(context: Context, rollout: Rollout) -> bool:
    """Whether the candidate had its time; never while the other revision isn't ready either."""
    return is_possible(context) and counted_s(context, rollout) > context.desired.progress_deadline_s


def is_possible(context: Context) -> bool:
    """Whether nothing but the candidate itself is waited for."""
    progress = context.serving.rules.progress
    if progress is None:
        return False
    awaited = context.serving.revision_at(progress.place)
    if awaited is None or context.application(awaited) is None or context.is_blamed_on_all(awaited):
        return False
    if _waits_for_a_worker(context, awaited):
        return False
    match progress.needs:
        case Evidence.RAY:
            return True
        case Evidence.GATEWAYS:
            return bool(context.gateways)
        case Evidence.ROUTE:
            return bool(context.gateways) and traffic.ensure(context, traffic.entry(context)) is None
    assert_never(progress.needs)


def _waits_for_a_worker(context: Context, revision: str) -> bool:
    """Whether replicas have no room, and a worker for them is on its way or may still be added."""
    view, workers = context.application(revision), context.workers_of(revision)
    return view is not None and view.waiting_replicas > 0 and workers is not None and workers.may_grow


def replicas_missing(context: Context, rollout: Rollout) -> Condemned | None:
    """Ray doesn't run all the replicas that the phase waits for, and the time is up."""
    candidate = context.serving.candidate
    view = context.application(candidate) if candidate is not None else None
    if candidate is None or view is None or not _is_awaited(context, rollout) or not is_late(context, rollout):
        return None
    wanted = wanted_replicas(context, candidate)
    if view.running_replicas >= wanted > 0:
        return None
    failed = failure.read_failure(view.message)
    message = (
        f"After {context.desired.progress_deadline_s} s, {view.running_replicas} of {wanted} replicas of "
        f"{context.called(candidate)} run. {failed.message}"
    )
    word = failed.reason if failed.reason != Reason.DEPLOY_FAILED else None
    return Condemned(reason=Reason.PROGRESS_DEADLINE_EXCEEDED, message=one_line(message), word=word)


def replicas_unseen(context: Context, rollout: Rollout) -> Condemned | None:
    """A gateway doesn't see all the replicas that the phase waits for, and the time is up."""
    candidate = context.serving.candidate
    up = context.fewest_up(candidate) if candidate is not None else None
    if candidate is None or up is None or not _is_awaited(context, rollout) or not is_late(context, rollout):
        return None
    wanted = wanted_replicas(context, candidate)
    if up >= wanted > 0:
        return None
    waited_s, called = context.desired.progress_deadline_s, context.called(candidate)
    message = f"After {waited_s} s, the gateways see {up} of {wanted} replicas of {called}."
    return Condemned(reason=Reason.PROGRESS_DEADLINE_EXCEEDED, message=message)


def wanted_replicas(context: Context, candidate: str) -> int:
    wanted = context.desired.revisions.get(candidate)
    return wanted.application.replicas if wanted is not None and wanted.application is not None else 0


def _is_awaited(context: Context, rollout: Rollout) -> bool:
    """Whether the phase waits for replicas: not once a candidate is proved or has what its step gives it."""
    if rollout.phase is RolloutPhase.PROVING:
        return not rollout.proved
    if not context.serving.rules.moves_traffic:
        return True
    route = context.observed.route
    has_all = rollout.weight == FULL_WEIGHT and isinstance(route, Known) and route.value.holds(traffic.entry(context))
    return not has_all and not traffic.is_covered(context)
