"""The ControllerRevisions of a model: the desired one is created before it is used, and the history is trimmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import CreateRevision, DeleteRevision, Plan
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.ports import PortRange
from fairlead_operator.state.reasons import Reason


def decide(context: Context) -> Plan | None:
    """Creates what is missing. One that is known, also from long ago, is adopted by its hash."""
    desired = context.desired
    if desired.target in desired.revisions:
        return None
    ports = _ports(context)
    if ports is None:
        return _exhausted(context)
    number = desired.number
    create = CreateRevision(
        name=names.controller_revision(desired.key.name, desired.target),
        revision=desired.target,
        number=number,
        template=desired.template,
        cluster=desired.cluster,
        application=_with_ports(desired.application, ports, context.bounds),
        ports=ports,
        owner_uid=desired.uid,
    )
    return context.act(
        create, Reason.REVISION_CREATED, f"Keeps revision {number} ({desired.target}) with ports {ports}."
    )


def _with_ports(application: Mapping[str, Any], ports: PortRange, bounds: Bounds) -> dict[str, object]:
    given = {"host": bounds.replica_host, "first": ports.first, "count": ports.count}
    arguments = application["args"]
    return {**application, "args": {**arguments, "config": {**arguments["config"], "ports": given}}}


def _ports(context: Context) -> PortRange | None:
    taken = context.observed.taken_ports
    before = _status_ports(context).get(context.desired.target)
    if before is not None and not any(before.overlaps(other) for other in taken):
        return before
    return lowest_free(taken, context.bounds)


def lowest_free(taken: tuple[PortRange, ...], bounds: Bounds) -> PortRange | None:
    """The lowest range of the cluster's ports that overlaps none that is taken."""
    first = bounds.ports_first
    for other in sorted(taken, key=lambda ports: ports.first):
        if first + bounds.ports_per_revision <= other.first:
            break
        first = max(first, other.last + 1)
    wanted = PortRange(first=first, count=bounds.ports_per_revision)
    return wanted if wanted.last <= bounds.ports_last else None


def _status_ports(context: Context) -> dict[str, PortRange]:
    if not isinstance(context.observed.object, Known):
        return {}
    return {
        r.name: PortRange(first=r.ports.first, count=r.ports.count)
        for r in context.observed.object.value.status.revisions
        if r.ports is not None
    }


def _exhausted(context: Context) -> Plan:
    if (trim := _delete_oldest(context, keep=0)) is not None:
        return trim
    bounds = context.bounds
    message = (
        f"All ports from {bounds.ports_first} to {bounds.ports_last} of the Ray cluster are taken, "
        f"{bounds.ports_per_revision} a revision: delete models, or lower their revisionHistoryLimit."
    )
    return context.wait(Reason.PORTS_EXHAUSTED, message, requeue_after_s=bounds.resync_s / 10)


def trim_history(context: Context) -> Plan | None:
    """Deletes the oldest revision beyond ``revisionHistoryLimit``."""
    return _delete_oldest(context, keep=context.desired.history_limit)


def _delete_oldest(context: Context, *, keep: int) -> Plan | None:
    """Deletes the oldest inactive revision if more than ``keep`` are left; its ports are free again with it."""
    inactive = [revision for revision in context.desired.revisions.values() if _is_inactive(context, revision)]
    if len(inactive) <= keep:
        return None
    revision = min(inactive, key=lambda r: r.number)
    delete = DeleteRevision(
        name=names.controller_revision(context.observed.key.name, revision.revision), revision=revision.revision
    )
    return context.act(delete, Reason.HISTORY_TRIMMED, f"Deletes {context.called(revision.revision)} from the history.")


def _is_inactive(context: Context, revision: WantedRevision) -> bool:
    """Whether it has no place, no wish, and provably no replica that could still listen on its ports."""
    serving, key = context.serving, context.observed.key
    if revision.revision in (*serving.active, serving.last_stable, context.desired.target, context.rollback):
        return False
    serve = context.serve_of(revision.revision)
    if not isinstance(serve, Known):
        return False
    return names.serve_application(key.namespace, key.name, revision.revision) not in serve.value.applications
