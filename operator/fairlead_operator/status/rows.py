"""The revisions that the status lists, with what is wanted of each and what is there."""

from __future__ import annotations

from fairlead_operator.api.evaluation_status import Evaluation
from fairlead_operator.api.optimization import Variant
from fairlead_operator.api.revision_status import RevisionRole, RevisionStatus
from fairlead_operator.state.actions import Proved
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.status.pass_result import PassResult

ROWS_MAX = 12
URI_MAX = 512


def revisions(result: PassResult) -> tuple[RevisionStatus, ...]:
    """Those with a place first, then the newest of the history; bounded, so that the status stays small.

    A revision with a place whose ControllerRevision is gone keeps its row: its number is needed to restore it.
    """
    if result.desired_if_valid is None:
        return result.view.status.revisions
    known = sorted(
        result.desired_if_valid.revisions.values(),
        key=lambda r: (_role(result, r.revision) is RevisionRole.RETIRED, -r.number),
    )
    lost = set(result.serving.active) - set(result.desired_if_valid.revisions)
    kept = tuple(row for row in result.view.status.revisions if row.name in lost)
    return (*kept, *(_row(result, revision) for revision in known))[:ROWS_MAX]


def existing(result: PassResult) -> int:
    """Replicas that Ray has or aims at, over all revisions; while Ray can't be read, as last known."""
    if any(isinstance(result.observed.serve_on(cluster), Unknown) for cluster in result.observed.clusters):
        return result.view.status.replicas
    return sum(view.target_replicas for _, view in result.observed.applications)


def _row(result: PassResult, wanted: WantedRevision) -> RevisionStatus:
    model = wanted.template.model
    quarantined = result.serving.quarantined(wanted.revision)
    return RevisionStatus(
        name=wanted.revision,
        number=wanted.number,
        role=_role(result, wanted.revision),
        uri=model.uri if len(model.uri) <= URI_MAX else model.uri[: URI_MAX - 1] + "…",
        version=model.version,
        digest=wanted.digest,
        cluster=wanted.cluster,
        wanted_replicas=result.aimed_replicas(wanted.revision),
        ready_replicas=_ready(result, wanted.revision),
        shares_calls=_shares_calls(result, wanted.revision),
        evaluation=_evaluation(result, wanted.revision),
        variant=_variant(result, wanted.revision),
        stages=wanted.template.stages if wanted.template.stages > 1 else None,
        message=f"{quarantined.reason}: {quarantined.message}" if quarantined is not None else None,
    )


def _shares_calls(result: PassResult, revision: str) -> bool | None:
    """As the replica said with its proof; nobody asks again."""
    if isinstance(result.outcome, Proved) and result.outcome.revision == revision:
        return result.outcome.shares_calls
    return next((row.shares_calls for row in result.view.status.revisions if row.name == revision), None)


def _evaluation(result: PassResult, revision: str) -> Evaluation | None:
    """The same of the evaluation record."""
    if isinstance(result.outcome, Proved) and result.outcome.revision == revision:
        return result.outcome.evaluation
    return next((row.evaluation for row in result.view.status.revisions if row.name == revision), None)


def _variant(result: PassResult, revision: str) -> Variant | None:
    """The same of the variant that serves."""
    if isinstance(result.outcome, Proved) and result.outcome.revision == revision:
        return result.outcome.variant
    return next((row.variant for row in result.view.status.revisions if row.name == revision), None)


def _ready(result: PassResult, revision: str) -> int:
    if isinstance(result.serve_of(revision), Known):
        view = result.application(revision)
        running = view.running_replicas if view is not None else 0
        return min(running, _seen_by_gateways(result, revision, running))
    return next((row.ready_replicas for row in result.view.status.revisions if row.name == revision), 0)


def _seen_by_gateways(result: PassResult, revision: str, otherwise: int) -> int:
    """Of a revision in the route what the gateway sees that sees the fewest; of another one nobody asks them."""
    seen = result.observed.up_by_gateway(revision)
    route = result.observed.route
    is_routed = isinstance(route, Known) and revision in route.value.weights()
    return min(seen.values()) if seen and is_routed else otherwise


def _role(result: PassResult, revision: str) -> RevisionRole:
    serving = result.serving
    roles = {
        serving.leaving: RevisionRole.WARM if serving.rules.keeps_warm else RevisionRole.DRAINING,
        serving.candidate: RevisionRole.CANDIDATE,
        serving.stable: RevisionRole.STABLE,
    }
    return roles.get(revision, RevisionRole.RETIRED)
