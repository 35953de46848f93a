"""The ControllerRevisions of a model: the desired one is created before it is used, and the history is trimmed."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import CreateRevision, DeleteRevision, Plan
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason


def decide(context: Context) -> Plan | None:
    """Creates what is missing. One that is known, also from long ago, is adopted by its hash."""
    desired = context.desired
    if desired.target in desired.revisions:
        return None
    create = CreateRevision(
        name=names.controller_revision(desired.key.name, desired.target),
        revision=desired.target,
        number=desired.number,
        template=desired.template,
        cluster=desired.cluster,
        application=desired.application,
        owner_uid=desired.uid,
    )
    return context.act(
        create,
        Reason.REVISION_CREATED,
        f"Creates the ControllerRevision of revision {desired.number} ({desired.target}).",
    )


def trim_history(context: Context) -> Plan | None:
    """Deletes the oldest inactive revision beyond ``revisionHistoryLimit``, and first those that hold a Ray cluster.

    A Ray cluster that the operator made is kept for as long as a revision records it. A revision of another cluster
    than the model's would keep pods running for a rollback that may never come.
    """
    inactive = [revision for revision in context.desired.revisions.values() if _is_inactive(context, revision)]
    holding = [revision for revision in inactive if _holds_another_cluster(context, revision)]
    if not holding and len(inactive) <= context.desired.history_limit:
        return None
    revision = min(holding or inactive, key=lambda r: r.number)
    delete = DeleteRevision(
        name=names.controller_revision(context.observed.key.name, revision.revision), revision=revision.revision
    )
    return context.act(
        delete, Reason.HISTORY_TRIMMED, f"Deletes {context.called(revision.revision)} from the revision history."
    )


def _holds_another_cluster(context: Context, revision: WantedRevision) -> bool:
    """Not while it isn't known where the model should run."""
    is_placed = context.observed.is_placed_by_class and context.observed.unplaced is None
    return is_placed and revision.cluster != context.desired.cluster


def _is_inactive(context: Context, revision: WantedRevision) -> bool:
    """Whether it has no place, is not desired, and provably has no replica."""
    serving, key = context.serving, context.observed.key
    if revision.revision in (*serving.active, serving.last_stable, context.desired.target, context.rollback):
        return False
    serve = context.serve_of(revision.revision)
    if not isinstance(serve, Known):
        return False
    return names.serve_application(key.namespace, key.name, revision.revision) not in serve.value.applications
