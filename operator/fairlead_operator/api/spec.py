"""What a person writes in ``spec``: typed, bounded, and the source from which the CRD is generated.

Defaults live here alone; nothing writes them back into the user's object.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """Wire names are camelCase; a field that this version doesn't know is ignored on read (the API server refuses it on write)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class ModelFormat(StrEnum):
    SAVED_MODEL = "SavedModel"
    KERAS = "Keras"


class Strategy(StrEnum):
    ROLLING_UPDATE = "RollingUpdate"
    RECREATE = "Recreate"


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Warmup(ApiModel):
    """Predictions run before a replica is ready."""

    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1, max_length=8)] = (1,)


class ModelSource(ApiModel):
    """Which model is served, and how its content is known."""

    uri: Annotated[str, Field(min_length=8, max_length=2048, pattern=r"^(file|https?)://.+")]
    format: ModelFormat | None = None
    digest: Digest | None = None
    signature: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    version: Annotated[str, Field(max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")] | None = None
    warmup: Warmup = Warmup()


class Resources(ApiModel):
    """What one replica asks of Ray's scheduler (Kubernetes quantities)."""

    cpu: Annotated[str, Field(max_length=20, pattern=r"^([0-9]+m|[0-9]+(\.[0-9]{1,3})?)$")] = "500m"
    memory: Annotated[str, Field(max_length=20, pattern=r"^[1-9][0-9]*(Ki|Mi|Gi|k|M|G)?$")] = "512Mi"


class Serving(ApiModel):
    """How one replica answers."""

    resources: Resources = Resources()
    max_ongoing_requests: Annotated[int, Field(ge=1, le=10000)] = 64
    max_queued_requests: Annotated[int, Field(ge=0, le=100000)] = 256
    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    max_request_bytes: Annotated[int, Field(ge=1024, le=16777216)] = 1048576


class Scaling(ApiModel):
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1


class Rollout(ApiModel):
    strategy: Strategy = Strategy.ROLLING_UPDATE
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = 600
    paused: bool = False


class ModelDeploymentSpec(ApiModel):
    model: ModelSource
    serving: Serving = Serving()
    scaling: Scaling = Scaling()
    rollout: Rollout = Rollout()
    revision_history_limit: Annotated[int, Field(ge=1, le=50)] = 10
    suspend: bool = False
