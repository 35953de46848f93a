"""Starting again what Ray gave up: Ray never tries a failed configuration twice, so the attempt's number changes it."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.status import Attempt
from fairlead_operator.plan import failure
from fairlead_operator.plan.context import Context
from fairlead_operator.state import load_reasons
from fairlead_operator.state.actions import NudgeServe, Plan, Wait
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serve import ApplicationStatus

RETRY_AFTER_S = (30, 60, 120, 300)
"""How long after the first, second … attempt the next one may come; the last stands for all that follow."""
BLOCKED_AFTER = 4


def is_given_up(context: Context, revision: str) -> bool:
    """Whether Ray will do nothing more for a revision; with a replica left it goes on by itself."""
    view = context.application(revision)
    return view is not None and view.status is ApplicationStatus.DEPLOY_FAILED and view.running_replicas == 0


def is_bounded(context: Context, revision: str) -> bool:
    """Whether the model's address gives nothing, while the stable revision runs: it is tried again, but not for ever.

    A store that answers 404 or 403 for a moment condemns no revision; an address that is wrong does.
    """
    view, stable = context.application(revision), context.serving.stable
    if view is None or stable is None or not context.is_running(stable):
        return False
    return load_reasons.blame_for(failure.read_failure(view.message).reason) is load_reasons.Blame.ADDRESS


def left_s(context: Context, revision: str) -> float:
    """Seconds until the next attempt may come; a clock that was set back holds up none."""
    last = context.serving.attempt_of(revision)
    if last is None:
        return 0.0
    since_s = (context.now - last.time).total_seconds()
    pause_s = RETRY_AFTER_S[min(last.number, len(RETRY_AFTER_S)) - 1]
    return pause_s - since_s if 0 <= since_s < pause_s else 0.0


def number_of(context: Context, revision: str) -> int:
    last = context.serving.attempt_of(revision)
    return last.number if last is not None else 0


def is_blocked(context: Context, revision: str) -> bool:
    """Whether so many attempts failed for a reason outside the model that a person has to look."""
    return number_of(context, revision) >= BLOCKED_AFTER


def start(context: Context, revision: str, failed: failure.Failure) -> Plan | None:
    """Announces the next attempt; None until it is due."""
    if left_s(context, revision) > 0:
        return None
    attempt = Attempt(revision=revision, number=number_of(context, revision) + 1, time=context.second)
    message = (
        f"{context.called(revision)} has no running replica and is restarted (attempt {attempt.number + 1}). "
        f"{failed.reason}: {failed.message}"
    )
    return context.announce(context.serving.with_attempt(attempt), Reason.RESTARTED, message)


def restart_stable(context: Context) -> Plan | None:
    """In every phase, with Ray alone: the stable revision that Ray gave up is started again when it is due."""
    stable = context.serving.stable
    if stable is None or not is_given_up(context, stable):
        return None
    view = context.application(stable)
    return start(context, stable, failure.read_failure(view.message if view is not None else ""))


def watch_stable(context: Context, plan: Plan) -> Plan:
    """A plan that waits also has Ray take what the stable revision lacks, and looks again when an attempt is due."""
    stable = context.serving.stable
    wanted = context.desired.revisions.get(stable) if stable is not None else None
    if wanted is None or wanted.application is None or isinstance(context.serve_of(wanted.revision), Unknown):
        return plan
    is_quiet = isinstance(plan.action, Wait) and plan.serving == context.serving
    if is_quiet and context.application(wanted.revision) is None:
        requeue_after_s = min(plan.requeue_after_s, context.bounds.unknown_s)
        return replace(plan, action=NudgeServe(cluster=wanted.cluster), requeue_after_s=requeue_after_s)
    if is_given_up(context, wanted.revision):
        return replace(plan, requeue_after_s=min(plan.requeue_after_s, left_s(context, wanted.revision)))
    return plan
