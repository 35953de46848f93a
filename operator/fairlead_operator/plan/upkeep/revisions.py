"""The ControllerRevisions of a model: the desired one is created before it is used, and the history is trimmed."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import CreateRevision, DeleteRevision, Plan
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serve import ServeView


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
        f"Creating the ControllerRevision of revision {desired.number} ({desired.target}).",
    )


def trim_history(context: Context) -> Plan | None:
    """Deletes the oldest inactive revision beyond ``revisionHistoryLimit``, and first those that hold a Ray cluster.

    A Ray cluster that the operator made is kept for as long as a revision records it. A revision of another cluster
    than the model's would keep pods running for a rollback that may never come.
    """
    inactive = [revision for revision in context.desired.revisions.values() if _is_inactive(context, revision)]
    holding = [revision for revision in context.desired.revisions.values() if _only_holds_a_cluster(context, revision)]
    if not holding and len(inactive) <= context.desired.history_limit:
        return None
    revision = min(holding or inactive, key=lambda r: r.number)
    delete = DeleteRevision(
        name=names.controller_revision(context.observed.key.name, revision.revision), revision=revision.revision
    )
    return context.act(
        delete, Reason.HISTORY_TRIMMED, f"Deleting {context.called(revision.revision)} from the revision history."
    )


def _only_holds_a_cluster(context: Context, revision: WantedRevision) -> bool:
    """Whether its model has left its Ray cluster, and no replica of it is known to run there.

    Not while it isn't known where the model should run. A Ray cluster that can't be read is held for nothing, either:
    no gateway sends anything there, and what may run on it ends with it.
    """
    if not context.observed.is_placed_by_class or context.observed.unplaced is not None:
        return False
    if revision.cluster == context.desired.cluster or _has_place(context, revision):
        return False
    serve = context.serve_of(revision.revision)
    return not isinstance(serve, Known) or not _runs(context, revision, serve.value)


def _is_inactive(context: Context, revision: WantedRevision) -> bool:
    """Whether it has no place, is not desired, and provably has no replica."""
    serve = context.serve_of(revision.revision)
    return not _has_place(context, revision) and isinstance(serve, Known) and not _runs(context, revision, serve.value)


def _has_place(context: Context, revision: WantedRevision) -> bool:
    serving = context.serving
    return revision.revision in (*serving.active, serving.last_stable, context.desired.target, context.rollback)


def _runs(context: Context, revision: WantedRevision, serve: ServeView) -> bool:
    key = context.observed.key
    return names.serve_application(key.namespace, key.name, revision.revision) in serve.applications
