"""The outside writes, one a pass at most. Every action is idempotent; ``str(action)`` is the log line."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from fairlead_operator.api.evaluation_status import Evaluation
from fairlead_operator.api.optimization import Variant
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.observed import RevisionTemplate
from fairlead_operator.state.reasons import EventType, Reason
from fairlead_operator.state.rollout import Serving
from fairlead_operator.state.route import RouteEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFinalizer:
    """Write ``finalizers``, the whole new list, guarded by ``resource_version``."""

    resource_version: str
    finalizers: tuple[str, ...]

    @override
    def __str__(self) -> str:
        return "add the finalizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFinalizer:
    """Everything outside is proved gone: write ``finalizers``, the whole new list, guarded by ``resource_version``."""

    resource_version: str
    finalizers: tuple[str, ...]

    @override
    def __str__(self) -> str:
        return "remove the finalizer"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRevision:
    """Create a ControllerRevision.

    ``owner_uid`` is the object's; ``application`` is the composed Serve application that runs on ``cluster`` from then.
    """

    owner_uid: str
    name: str
    revision: str
    number: int
    template: RevisionTemplate
    cluster: str
    application: Mapping[str, object]

    @override
    def __str__(self) -> str:
        return f"keep revision {self.revision} as number {self.number} on Ray cluster {self.cluster}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinDigest:
    """Write the digest that the first replica read into the ControllerRevision's annotation."""

    name: str
    revision: str
    digest: str

    @override
    def __str__(self) -> str:
        return f"pin revision {self.revision} to {self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRevision:
    name: str
    revision: str

    @override
    def __str__(self) -> str:
        return f"delete revision {self.revision} from the history"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRoute:
    """Server-side apply of the model's ModelRoute, which the object of ``owner_uid`` owns; ``is_first`` creates it."""

    entry: RouteEntry
    owner_uid: str
    is_first: bool = False

    @property
    def moves_traffic(self) -> bool:
        """Whether requests without a pinned revision go elsewhere than before."""
        return not self.is_first or self.entry.stable is not None or self.entry.candidate_weight > 0

    @override
    def __str__(self) -> str:
        entry = self.entry
        share = f", candidate {entry.candidate} at {entry.candidate_weight / 100:g} %" if entry.candidate else ""
        return f"write route {entry.version}: stable {entry.stable}{share}, revisions {sorted(entry.revisions)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireRoute:
    """Mark the model's ModelRoute as retired; it is created where a gateway still routes for a model that is gone."""

    owner_uid: str | None

    @override
    def __str__(self) -> str:
        return "retire the route"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteRoute:
    """Delete the ModelRoute that every gateway has confirmed as retired."""

    @override
    def __str__(self) -> str:
        return "delete the route"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prove:
    """Let a replica of the revision run its example, through a gateway, and report.

    The outcome is Proved, NotProved or ProofUnavailable. The replica's signature is compared with that of
    ``contract_of``, where that is set. With ``needs_evaluation`` a report that doesn't say what evaluation record there
    is proves nothing.
    """

    revision: str
    contract_of: str | None = None
    needs_evaluation: bool = False

    @override
    def __str__(self) -> str:
        return f"ask revision {self.revision} for its proof"


@dataclass(frozen=True, slots=True, kw_only=True)
class NudgeServe:
    """Queue a Ray cluster's key: what runs there is not what should. Writes nothing itself."""

    cluster: str

    @override
    def __str__(self) -> str:
        return f"queue Ray cluster {self.cluster}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Nothing to write in this pass."""

    @override
    def __str__(self) -> str:
        return "wait"


Action = (
    AddFinalizer
    | RemoveFinalizer
    | CreateRevision
    | PinDigest
    | DeleteRevision
    | WriteRoute
    | RetireRoute
    | DeleteRoute
    | Prove
    | NudgeServe
    | Wait
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One pass's decision.

    ``serving`` is what the status shall say after this pass; a pass that changes it writes nothing else, so that the
    step is announced before it is taken. ``reason`` and ``message`` say why, and what is waited for.
    """

    key: ModelKey
    action: Action
    serving: Serving
    reason: Reason
    message: str
    requeue_after_s: float

    @override
    def __str__(self) -> str:
        return f"{self.action} ({self.reason}: {self.message})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The write happened, as the server said; also the outcome of Wait and NudgeServe.

    ``stored`` is the ModelDeployment as the API server has it since, where the write was one of it.
    """

    stored: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The write did not happen, or may not have: the next pass looks again.

    ``retry_after_s`` is how long the other side asked to be left alone, None where it said nothing.
    """

    reason: Reason
    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """The revision answered. ``digest`` is the content that its replica loaded.

    ``signature_changes`` are where its signature breaks the contract that was asked for. ``note`` says why its example
    was not answered, where the model refuses made-up inputs: it is ready, and nothing speaks against it.
    """

    revision: str
    digest: str
    signature_changes: tuple[str, ...] = ()
    note: str = ""
    shares_calls: bool | None = None
    """Whether requests may share a call of the model; None where the replica does not say it."""
    evaluation: Evaluation | None = None
    """What the replica found as the evaluation record; None where it is of a version that does not report it."""
    variant: Variant | None = None
    """The variant that the replica serves; None where none is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotProved:
    """The revision itself answered that its model failed, or answered what no replica may."""

    revision: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofUnavailable:
    """No word of the revision: a gateway or replica was away or busy, or the stable contract could not be read."""

    revision: str
    message: str


Outcome = Done | Refused | Proved | NotProved | ProofUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One Kubernetes event: a sentence on what just became so."""

    type: EventType
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusUpdate:
    """``status`` is the whole new status; ``patch`` the JSON merge patch that makes it so, None when nothing changed.

    The patch belongs under the key ``status`` of the status subresource. ``events`` are sent after it succeeded.
    """

    key: ModelKey
    status: Mapping[str, object]
    patch: Mapping[str, object] | None
    events: tuple[Event, ...]
    written_at: datetime.datetime
