"""What the operator reports of each revision, and where the model answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fairlead_operator.api import names
from fairlead_operator.api.model import ApiModel
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
    """The number of the revision, starting with 1."""
    role: RevisionRole
    """The role of the revision: Stable, Candidate, Warm, Draining or Retired."""
    uri: Uri
    """The location of the model."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """The name of the model's version."""
    digest: DigestText | None = None
    """The digest of the content, if it is known."""
    cluster: ClusterName = names.DEFAULT_CLUSTER
    """The name of the Ray cluster that runs the revision."""
    wanted_replicas: Count = 0
    """The desired number of replicas."""
    ready_replicas: Count = 0
    """The number of ready replicas."""
    message: Message | None = None
    """What Ray reports of the revision, if there is a problem."""


class ScalingStatus(ApiModel):
    """The replicas of the stable revision or, while there is none, of the candidate."""

    desired_replicas: Count
    """The desired number of replicas. With automatic scaling, this is what Ray decided from the load."""
    replicas: Count
    """The number of replicas that run."""
    min_replicas: Count
    """The number below which the load cannot bring the replicas now. It is higher than `spec.scaling.minReplicas` while
    a rollout needs them, or if `spec.scaling.replicas` is higher.
    """
    max_replicas: Count
    """The number above which the load cannot bring the replicas now."""
    waiting_since: Time | None = None
    """The time since when a replica waits for room on the Ray cluster. Absent while none does."""
    message: Message
    """The same in one sentence, with what is waited for."""


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
    """The digest of the content, if it is known."""
    version: Annotated[str, Field(max_length=63)] | None = None
    """The name of the model's version."""
