"""What the operator reports of each revision, and where the model answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fairlead_operator.api import names
from fairlead_operator.api.evaluation_status import Evaluation
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.optimization import STAGES_MAX, Variant
from fairlead_operator.api.text import Message, Time

Count = Annotated[int, Field(ge=0, le=100000)]
RevisionName = Annotated[str, Field(max_length=10)]
ClusterName = Annotated[str, Field(max_length=names.CLUSTER_MAX)]
RevisionNumber = Annotated[int, Field(ge=0, le=2147483647)]
Uri = Annotated[str, Field(max_length=2048)]
DigestText = Annotated[str, Field(max_length=71)]


class RevisionRole(StrEnum):
    """The role of a revision."""

    STABLE = "Stable"
    CANDIDATE = "Candidate"
    WARM = "Warm"
    DRAINING = "Draining"
    RETIRED = "Retired"


class RevisionStatus(ApiModel):
    """A revision that runs or is kept for a rollback."""

    name: RevisionName
    """The name of the revision: 10 hex digits."""
    number: RevisionNumber
    """The number of the revision. The first revision of a ModelDeployment has the number 1."""
    role: RevisionRole
    """The role of the revision. Stable: it gets all traffic except for the candidate's share. Candidate: it is being
    rolled out. Warm: it keeps running for a rollback. Draining: it finishes its last requests. Retired: it is stopped.
    """
    uri: Uri
    """The location of the model."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """The name of the model's version, as in `spec.model.version`."""
    digest: DigestText | None = None
    """The digest of the content. Absent while it is not known."""
    cluster: ClusterName = names.DEFAULT_CLUSTER
    """The name of the Ray cluster that runs the revision."""
    wanted_replicas: Count = 0
    """The desired number of replicas."""
    ready_replicas: Count = 0
    """The number of ready replicas."""
    shares_calls: bool | None = None
    """Whether requests may share a call of the model: the warm-up showed that the model answers each row independently
    of the others. Absent while this is not known. The log of the replica has the reason.
    """
    evaluation: Evaluation | None = None
    """The evaluation record of the model. Absent while no replica of the revision has reported on it."""
    variant: Variant | None = None
    """The variant of the model that serves. Absent if `spec.optimization` is unset, or while no replica of the revision
    has reported on it.
    """
    stages: Annotated[int, Field(ge=2, le=STAGES_MAX)] | None = None
    """The number of stages that the model is cut into. Each replica consists of so many replicas of Ray, one for each
    stage. Absent if each replica holds the whole model.
    """
    message: Message | None = None
    """The problem that Ray reports for the revision. Absent if there is none."""


class ScalingStatus(ApiModel):
    """The scaling state of the stable revision or, if there is none, of the candidate."""

    desired_replicas: Count
    """The desired number of replicas. With automatic scaling, Ray decides it from the load."""
    replicas: Count
    """The number of running replicas."""
    min_replicas: Count
    """The current lower limit of automatic scaling. It is higher than `spec.scaling.minReplicas` during a rollout that
    needs more replicas, or if `spec.scaling.replicas` is higher. With a fixed number of replicas, it is that number.
    """
    max_replicas: Count
    """The current upper limit of automatic scaling. With a fixed number of replicas, it is that number."""
    waiting_since: Time | None = None
    """The time at which a replica started to wait for placement on the Ray cluster. Absent while none waits."""
    message: Message
    """A summary of the scaling state, including the reason why replicas are missing."""


class Endpoints(ApiModel):
    """The URLs of the model."""

    v1: Uri | None = None
    """The base URL of the TensorFlow Serving REST API."""
    v2: Uri | None = None
    """The base URL of the Open Inference Protocol REST API."""


class ModelStatus(ApiModel):
    """The model of the stable revision."""

    uri: Uri
    """The location of the model."""
    digest: DigestText | None = None
    """The digest of the content. Absent while it is not known."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """The name of the model's version, as in `spec.model.version`."""
