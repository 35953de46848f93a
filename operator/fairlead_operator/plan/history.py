"""Revisions that have no place any more are kept for a way back, up to a limit."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import DeleteRevision, Plan
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason


def decide(context: Context) -> Plan | None:
    """Deletes the oldest revision beyond ``revisionHistoryLimit``."""
    return oldest(context, keep=context.desired.history_limit)


def oldest(context: Context, *, keep: int) -> Plan | None:
    """Deletes the oldest inactive revision if more than ``keep`` are left; its ports are free again with it."""
    inactive = sorted((r for r in context.desired.revisions.values() if _is_inactive(context, r)), key=_number)
    if len(inactive) <= keep:
        return None
    revision = inactive[0]
    delete = DeleteRevision(
        name=names.controller_revision(context.observed.key.name, revision.revision), revision=revision.revision
    )
    return context.act(delete, Reason.HISTORY_TRIMMED, f"Deletes {context.called(revision.revision)} from the history.")


def _number(revision: WantedRevision) -> int:
    return revision.number


def _is_inactive(context: Context, revision: WantedRevision) -> bool:
    """Whether it has no place, no wish, and provably no replica that could still listen on its ports."""
    serving, key = context.serving, context.observed.key
    if revision.revision in (*serving.active, serving.last_stable, context.desired.target, context.rollback):
        return False
    if not isinstance(context.observed.serve, Known):
        return False
    name = names.serve_application(key.namespace, key.name, revision.revision)
    return name not in context.observed.serve.value.applications
