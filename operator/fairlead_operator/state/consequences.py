"""What each reason means for the conditions, for events and for people: one total table.

A row says it for the reason of a pass. The conditions Available and Degraded depend on what gateways and Ray report, so
they are not here; the rest of a row is what is read wherever a reason decides anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from fairlead_operator.api.status import ConditionStatus
from fairlead_operator.state.reasons import EventType, Reason


class Next(StrEnum):
    """Who or what makes the next move."""

    OPERATOR = "operator"  # Reconciling is True: the operator continues, or retries, by itself
    NOBODY = "nobody"  # unless there is a rollout, only a change of the object needs a move
    TIME = "time"  # the rollout continues at a stated time
    PROMOTE = "promote"  # a person continues or aborts the rollout
    PERSON = "person"  # Stalled is True: the operator can't continue without a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """``ready`` is the condition Ready of a stable revision that is also the desired one; ``accepted`` is Accepted.

    ``event`` is the type of the event that announces a pass with this reason, None where none does.
    ``advice`` is what a person can do, in the imperative; ``{name}`` in it stands for the model's name.
    """

    next: Next = Next.OPERATOR
    ready: ConditionStatus = ConditionStatus.FALSE
    accepted: ConditionStatus = ConditionStatus.TRUE
    event: EventType | None = None
    advice: str = ""
    answers_nobody: bool = False
    """No revision has to answer requests, so this is why Available is False."""
    is_shortage: bool = False
    """Replicas are missing: Ready stays True for a while, as after a change of ``spec.scaling.replicas``."""
    stops_deadline: bool = False
    """The candidate is not what is waited for, so the progress deadline doesn't count."""
    is_paused: bool = False
    """A candidate waits until a person continues or aborts the rollout: the phase of the object is Paused."""
    has_own_event: bool = False
    """Another event has announced it, so a condition that becomes True with this reason has none."""

    @property
    def is_stalled(self) -> bool:
        return self.next is Next.PERSON


_GOES_ON = Consequence()
_DONE = Consequence(next=Next.NOBODY, ready=ConditionStatus.TRUE)
_ANNOUNCED = Consequence(event=EventType.NORMAL)
_SHORT = Consequence(is_shortage=True)
_UNREADABLE = Consequence(ready=ConditionStatus.UNKNOWN, stops_deadline=True)
_BLOCKED = Consequence(stops_deadline=True)
_FAILURE = Consequence()  # the candidate's: the quarantine keeps it, and Ready and Stalled are RolloutFailed


def _person(advice: str, *, accepted: ConditionStatus = ConditionStatus.TRUE) -> Consequence:
    return Consequence(next=Next.PERSON, accepted=accepted, advice=advice)


def _paused(advice: str = "") -> Consequence:
    return Consequence(next=Next.PROMOTE, is_paused=True, stops_deadline=True, advice=advice)


CONSEQUENCES: Mapping[Reason, Consequence] = {
    # The spec
    Reason.ACCEPTED: _GOES_ON,
    Reason.INVALID_SPEC: replace(_person("Correct the field.", accepted=ConditionStatus.FALSE), answers_nobody=True),
    Reason.NO_RAY_CLUSTER: _person("Start the operator with --ray for this namespace.", accepted=ConditionStatus.FALSE),
    Reason.NO_GATEWAY: replace(
        _person(
            "Check why the pods of Deployment fairlead-gateway are not ready. If the operator runs with --ray or "
            "--gateway, it does not create gateways: start a gateway and pass its address to the operator with "
            "--gateway.",
            accepted=ConditionStatus.FALSE,
        ),
        stops_deadline=True,
    ),
    # What helps depends on whether spec.cluster.class is set: the message of the pass says it.
    Reason.NO_SERVING_CLASS: replace(_person("", accepted=ConditionStatus.FALSE), stops_deadline=True),
    Reason.KUBERAY_MISSING: replace(_person("Install KubeRay."), stops_deadline=True),
    Reason.FOREIGN_OBJECT: replace(_person("Delete it, or use another namespace."), stops_deadline=True),
    Reason.INFRASTRUCTURE_FAILED: _BLOCKED,
    # What could not be read or written
    Reason.RAY_UNREACHABLE: _UNREADABLE,
    Reason.RAY_CLUSTER_STARTING: _BLOCKED,
    Reason.GATEWAY_UNREACHABLE: _UNREADABLE,
    Reason.ROUTE_REFUSED: _GOES_ON,
    Reason.CRD_OUTDATED: _person("Update the CRD."),
    Reason.STATUS_UNREADABLE: _person("Run the version of the operator that wrote the status, or remove that field."),
    Reason.CONFLICT: _GOES_ON,
    Reason.WRITE_FAILED: _GOES_ON,
    # Serving
    Reason.SERVING: _DONE,
    Reason.SCALING: _SHORT,
    Reason.SCALING_WAITS: _DONE,
    Reason.SCALED_TO_ZERO: replace(_DONE, answers_nobody=True),
    Reason.AT_ZERO: replace(_DONE, event=EventType.NORMAL),
    Reason.SCALING_FROM_ZERO: replace(_SHORT, ready=ConditionStatus.TRUE, event=EventType.NORMAL),
    Reason.REPLICAS_MISSING: _SHORT,
    Reason.REPLICAS_LOST: _SHORT,
    Reason.RESTARTED: Consequence(event=EventType.WARNING),
    Reason.START_RETRIED: _BLOCKED,
    Reason.START_BLOCKED: replace(_person("Fix the cause. The operator keeps retrying."), stops_deadline=True),
    Reason.STABLE_UNAVAILABLE: replace(
        _person("To continue without the stable revision, run `kubectl fairlead promote {name} --full`."),
        stops_deadline=True,
    ),
    Reason.RAY_REFUSED: _BLOCKED,
    Reason.APPLICATION_UNHEALTHY: _SHORT,
    Reason.REPLICAS_UNREACHABLE: _SHORT,
    Reason.AVAILABLE: _GOES_ON,
    Reason.NOT_SERVING: Consequence(next=Next.NOBODY),
    Reason.SUSPENDED: Consequence(answers_nobody=True),
    Reason.DELETING: Consequence(answers_nobody=True),
    Reason.CLEANUP_INCOMPLETE: _person("Check that the replicas of the model have stopped."),
    # Drift
    Reason.NO_DRIFT: _GOES_ON,
    Reason.INPUT_DRIFT: _GOES_ON,
    Reason.SCORE_DRIFT: _GOES_ON,
    Reason.ATTRIBUTION_DRIFT: _GOES_ON,
    Reason.DRIFT_UNKNOWN: _GOES_ON,
    # The rollout
    Reason.INSUFFICIENT_CAPACITY: replace(
        _person(
            "Raise spec.workers.max of the ServingClass, or add nodes to the Ray cluster; or lower the replicas or "
            "their resources."
        ),
        event=EventType.NORMAL,
    ),
    Reason.EXCEEDS_CLASS: replace(
        _person(
            "Lower the value in the ModelDeployment, or raise it in the ServingClass.",
            accepted=ConditionStatus.FALSE,
        ),
        event=EventType.WARNING,
        stops_deadline=True,
    ),
    Reason.INITIALIZING: _GOES_ON,
    Reason.REVISION_CREATED: _GOES_ON,
    Reason.ROLLOUT_STARTED: _GOES_ON,
    Reason.STARTING: _GOES_ON,
    Reason.CONNECTING: _GOES_ON,
    Reason.PROVING: _GOES_ON,
    Reason.EXAMPLE_REFUSED: _GOES_ON,
    Reason.PINNING: _GOES_ON,
    Reason.SCALING_UP_CANDIDATE: _GOES_ON,
    Reason.SHIFTING: _GOES_ON,
    Reason.RESTORING: _GOES_ON,
    Reason.PROMOTING: _GOES_ON,
    Reason.WITHDRAWING: _GOES_ON,
    Reason.DRAINING: _GOES_ON,
    Reason.REMOVING: _GOES_ON,
    Reason.PAUSED: _paused(),  # what continues it depends on what paused it: the message of the pass says it
    Reason.SIGNATURE_CHANGED: replace(
        _paused("Set spec.rollout.allowSignatureChange: true to allow this, or change spec.model."), next=Next.PERSON
    ),
    Reason.STEP_PAUSED: _GOES_ON,
    Reason.ANALYSING: _GOES_ON,
    Reason.ANALYSIS_SUCCESSFUL: _ANNOUNCED,
    Reason.ANALYSIS_IGNORED: _ANNOUNCED,
    Reason.ANALYSIS_INCONCLUSIVE: _paused(
        "Run `kubectl fairlead promote {name}` to continue, `kubectl fairlead resume {name}` to measure again, or "
        "`kubectl fairlead abort {name}` to withdraw the candidate."
    ),
    Reason.ROLLBACK_WINDOW_OPEN: replace(_DONE, next=Next.TIME, event=EventType.NORMAL),
    Reason.ROLLED_BACK_AUTOMATICALLY: _GOES_ON,
    Reason.PROMOTED: _GOES_ON,
    Reason.ROLLOUT_COMPLETE: _ANNOUNCED,
    Reason.REMOVED: _ANNOUNCED,
    Reason.SUPERSEDED: _ANNOUNCED,
    Reason.REVERTED: _ANNOUNCED,
    Reason.RAY_RESTARTED: _ANNOUNCED,
    Reason.HISTORY_TRIMMED: _DONE,
    Reason.INTERNAL_ERROR: _GOES_ON,
    Reason.REVISION_LOST: replace(
        _person("Restore it from a backup, or set spec.model and spec.serving back to that revision."),
        stops_deadline=True,
    ),
    Reason.ROLLBACK_BLOCKED: _person("To replace both revisions, change spec.model."),
    # What a person asked for
    Reason.REQUESTED: _GOES_ON,
    Reason.REQUEST_REFUSED: _GOES_ON,
    Reason.REQUEST_FORGOTTEN: _ANNOUNCED,
    Reason.ABORTED: Consequence(has_own_event=True),
    Reason.ROLLED_BACK: Consequence(has_own_event=True),
    # Why a candidate failed
    Reason.DEPLOY_FAILED: _FAILURE,
    Reason.PROGRESS_DEADLINE_EXCEEDED: _FAILURE,
    Reason.ANALYSIS_FAILED: _FAILURE,
    Reason.READINESS_LOST: _FAILURE,
    Reason.CRASH_LOOP: _FAILURE,
    Reason.PROOF_FAILED: _FAILURE,
    Reason.EVALUATION_NOT_MET: _FAILURE,
    Reason.ROLLOUT_FAILED: replace(_FAILURE, has_own_event=True),
}


def consequence_of(reason: Reason) -> Consequence:
    return CONSEQUENCES[reason]


def with_advice(reason: Reason, message: str, *, name: str) -> str:
    """The message, and what a person can do for the model of this name."""
    advice = consequence_of(reason).advice.format(name=name)
    return f"{message.rstrip('.')}. {advice}" if advice else message
