"""What the operator sends to a replica: `args.config` of docs/contracts.md, parsed once and typed from there on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fairlead_runtime.errors import LoadError, LoadReason

SCHEMA_VERSION = 1
MIB = 1024 * 1024


class ModelFormat(StrEnum):
    SAVED_MODEL = "SavedModel"
    KERAS = "Keras"


class _Part(BaseModel):
    """Fields that this version doesn't know are ignored: a newer operator may send more, but never rename."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Source(_Part):
    """Where the model is and how its content is known."""

    uri: Annotated[str, Field(min_length=1, max_length=4096)]
    format: ModelFormat | None = None
    signature: str | None = None
    digest: Digest | None = None


class Ports(_Part):
    """The range of which a replica takes the first free port."""

    host: str = "127.0.0.1"
    first: Annotated[int, Field(ge=1, le=65535)]
    count: Annotated[int, Field(ge=1, le=4096)]


class Limits(_Part):
    """What one replica accepts."""

    max_request_bytes: Annotated[int, Field(ge=1)] = MIB
    request_timeout_seconds: Annotated[float, Field(gt=0)] = 30
    max_ongoing_requests: Annotated[int, Field(ge=1)] = 64
    max_queued_requests: Annotated[int, Field(ge=0)] = 256


class BatchingMode(StrEnum):
    AUTO = "Auto"
    OFF = "Off"


class Batching(_Part):
    """Whether requests may share a call of the model, how many rows it has, and how long the first one waits."""

    mode: BatchingMode = BatchingMode.AUTO
    max_rows: Annotated[int, Field(ge=1, le=1024)] = 64
    max_delay_milliseconds: Annotated[int, Field(ge=0, le=500)] = 0


class Warmup(_Part):
    """Predictions run before the replica is ready."""

    batch_sizes: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = (1,)


class ReplicaConfig(_Part):
    """One revision, as its replicas see it."""

    schema_version: Literal[1]
    namespace: str
    model: str
    revision: str
    revision_number: int
    aliases: tuple[str, ...] = ()
    source: Source
    ports: Ports
    limits: Limits = Limits()
    batching: Batching = Batching()
    warmup: Warmup = Warmup()
    attempt: int = 0

    @property
    def versions(self) -> frozenset[str]:
        """Every name under which a client may ask for this revision."""
        return frozenset((self.revision, str(self.revision_number), *self.aliases))


def parse(raw: Mapping[str, object]) -> ReplicaConfig:
    """The typed configuration; raises LoadError (ConfigInvalid) naming the first field that is wrong."""
    version = raw.get("schemaVersion")
    if version != SCHEMA_VERSION:
        text = f"the configuration has schemaVersion {version!r}; this runtime knows only {SCHEMA_VERSION}"
        raise LoadError(LoadReason.CONFIG_INVALID, text)
    try:
        return ReplicaConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise LoadError(LoadReason.CONFIG_INVALID, f"{field}: {first['msg']}") from None


class Environment(_Part):
    """What the machine, not the model, decides; set on the Ray cluster."""

    cache_dir: Path
    cache_bytes: Annotated[int, Field(ge=0)] = 20 * 1024 * MIB
    ca_file: Path | None = None
    max_model_bytes: int = 8 * 1024 * MIB
    fetch_idle_s: float = 20
    fetch_total_s: float = 900


def environment() -> Environment:
    """Read from the variables `FAIRLEAD_…` of the Ray cluster's processes."""
    default_dir = Path(tempfile.gettempdir()) / f"fairlead-models-{os.getuid()}"
    names = {
        "cache_bytes": "FAIRLEAD_CACHE_BYTES",
        "ca_file": "FAIRLEAD_CA_FILE",
        "max_model_bytes": "FAIRLEAD_MAX_MODEL_BYTES",
        "fetch_idle_s": "FAIRLEAD_FETCH_IDLE_SECONDS",
        "fetch_total_s": "FAIRLEAD_FETCH_TOTAL_SECONDS",
    }
    given = {field: os.environ[name] for field, name in names.items() if name in os.environ}
    return Environment.model_validate({"cache_dir": os.environ.get("FAIRLEAD_CACHE_DIR", default_dir), **given})
