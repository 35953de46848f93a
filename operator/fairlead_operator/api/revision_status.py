"""What the operator reports of each revision, and where the model answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fairlead_operator.api import names
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.text import Message

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


class Ports(ApiModel):
    """The ports that are reserved for the replicas of a revision."""

    first: Annotated[int, Field(ge=1, le=65535)]
    """The first port."""
    count: Annotated[int, Field(ge=1, le=65535)]
    """The number of ports."""


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
    ports: Ports | None = None
    """The ports that are reserved for the replicas."""
    wanted_replicas: Count = 0
    """The desired number of replicas."""
    ready_replicas: Count = 0
    """The number of ready replicas."""
    message: Message | None = None
    """What Ray reports of the revision, if there is a problem."""


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
