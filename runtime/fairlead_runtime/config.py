"""What the operator sends to a replica: `args.config` of docs/contracts.md, parsed once and typed from there on."""

from __future__ import annotations

import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from fairlead_runtime.errors import LoadError, LoadReason

SCHEMA_VERSION = 1
MIB = 1024 * 1024
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_CLUSTER = re.compile(f"{_LABEL}/{_LABEL}")


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
    endpoint: str | None = None
    credentials_secret_name: str | None = None


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


class Engine(StrEnum):
    """What calls the model."""

    TENSORFLOW = "TensorFlow"
    ONNX_RUNTIME = "ONNXRuntime"


class EngineMode(StrEnum):
    """Which engine is asked for; `Auto` is the faster one of those that give TensorFlow's answers."""

    AUTO = "Auto"
    TENSORFLOW = "TensorFlow"
    ONNX_RUNTIME = "ONNXRuntime"


class GuardMode(StrEnum):
    """What becomes of a request in which a guard finds something."""

    OFF = "Off"
    OBSERVE = "Observe"
    REJECT = "Reject"


class Guards(_Part):
    """What is looked for in the inputs and answers of predictions."""

    not_finite: GuardMode = GuardMode.OFF
    range: GuardMode = GuardMode.OFF
    size: GuardMode = GuardMode.OFF
    outlier: GuardMode = GuardMode.OFF
    perturbation: GuardMode = GuardMode.OFF
    impossible_answer: GuardMode = GuardMode.OFF
    score: GuardMode = GuardMode.OFF


class Technique(StrEnum):
    """A way to make a smaller or faster variant of a converted model."""

    FOLDING = "Folding"
    STATIC_INT8 = "StaticInt8"
    DYNAMIC_INT8 = "DynamicInt8"
    STRUCTURED_PRUNING = "StructuredPruning"
    MAGNITUDE_PRUNING = "MagnitudePruning"
    WEIGHT_CLUSTERING = "WeightClustering"


class OptimizeFor(StrEnum):
    """What the variant that serves is best in."""

    LATENCY = "Latency"
    THROUGHPUT = "Throughput"
    MEMORY = "Memory"
    SIZE = "Size"


class AccuracyFloor(_Part):
    """How much lower than the float model's a variant's metric may be, on the samples beside the model."""

    metric: Literal["Accuracy"] = "Accuracy"
    max_drop: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.01


class Optimization(_Part):
    """Which variants are tried, and what one must keep to be served."""

    techniques: Annotated[tuple[Technique, ...], Field(min_length=1)] = tuple(Technique)
    optimize_for: OptimizeFor = OptimizeFor.LATENCY
    accuracy_floor: AccuracyFloor = AccuracyFloor()
    max_score_change: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.1


class Parallelism(_Part):
    """Into how many stages the model is cut; each is loaded by replicas of its own."""

    stages: Annotated[int, Field(ge=2, le=8)]


def _check_url(url: str) -> str:
    """Raises ValueError for a URL without a host, or with an address or a port that is none."""
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("must have a host, and a port from 1 to 65535 if any")
    return url


class Payloads(_Part):
    """Of which predictions events are sent, to where, and what is left out of them."""

    url: Annotated[str, Field(pattern="^https?://", max_length=512), AfterValidator(_check_url)]
    sample_percent: Annotated[int, Field(ge=1, le=100)]
    redact: tuple[str, ...] = ()
    keep_text: tuple[str, ...] = ()
    credentials_secret_name: str | None = None
    max_event_bytes: Annotated[int, Field(ge=1024, le=MIB)] = 64 * 1024


class Explanations(_Part):
    """How many answered predictions a replica explains for monitoring."""

    samples_per_minute: Annotated[int, Field(ge=1, le=60)]


class Warmup(_Part):
    """Predictions run before the replica is ready."""

    batch_sizes: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = (1,)


EXAMPLE_CHARS_MAX = 16 * 1024


class ReplicaConfig(_Part):
    """One revision, as its replicas see it."""

    schema_version: Literal[1]
    namespace: str
    model: str
    revision: str
    revision_number: int
    aliases: tuple[str, ...] = ()
    source: Source
    limits: Limits = Limits()
    batching: Batching = Batching()
    engine: EngineMode = EngineMode.TENSORFLOW
    guards: Guards = Guards()

    optimization: Optimization | None = None
    parallelism: Parallelism | None = None
    warmup: Warmup = Warmup()
    example: Annotated[str, Field(max_length=EXAMPLE_CHARS_MAX)] | None = None
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
        raise LoadError(LoadReason.CONFIG_INVALID, _describe(error)) from None


def parse_payloads(user_config: Mapping[str, object] | None) -> Payloads | None:
    """The payload log that the operator asks for; raises LoadError (ConfigInvalid) naming the first wrong field."""
    raw = (user_config or {}).get("payloads")
    if raw is None:
        return None
    try:
        return Payloads.model_validate(raw)
    except ValidationError as error:
        raise LoadError(LoadReason.CONFIG_INVALID, f"user_config.payloads: {_describe(error)}") from None


def parse_explanations(user_config: Mapping[str, object] | None) -> Explanations | None:
    """The sampled explanations that the operator asks for; raises LoadError (ConfigInvalid) naming the wrong field."""
    raw = (user_config or {}).get("explanations")
    if raw is None:
        return None
    try:
        return Explanations.model_validate(raw)
    except ValidationError as error:
        raise LoadError(LoadReason.CONFIG_INVALID, f"user_config.explanations: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}"


class Environment(_Part):
    """What the machine, not the model, decides; set on the Ray cluster."""

    cache_dir: Path
    cache_bytes: Annotated[int, Field(ge=0)] = 20 * 1024 * MIB
    ca_file: Path | None = None
    max_model_bytes: int = 8 * 1024 * MIB
    fetch_idle_s: float = 20
    fetch_total_s: float = 900
    convert_s: Annotated[float, Field(gt=0)] = 240
    convert_bytes: Annotated[int, Field(gt=0)] = 4096 * MIB
    allowed_operations: str = ""
    source_schemes: str = ""
    source_hosts: str = ""
    source_networks: str = ""
    source_credentials: str = ""
    source_secrets_dir: Path | None = None
    source_claims_dir: Path | None = None
    https_proxy: str = ""
    no_proxy: str = ""
    payload_sink_hosts: str = ""
    payload_sink_networks: str = ""
    payload_sink_credentials: str = ""
    traces_endpoint: Annotated[str, Field(pattern=r"^(https?://[^\s?#]+)?$")] = ""
    traces_ca_file: Path | None = None
    traces_sample_percent: Annotated[float, Field(ge=0, le=100)] = 1


def environment() -> Environment:
    """Read from the variables `FAIRLEAD_…` of the Ray cluster's processes.

    Raises:
        LoadError: a variable has no valid value (NodeMisconfigured).
    """
    default_dir = Path(tempfile.gettempdir()) / f"fairlead-models-{os.getuid()}"
    names = {
        "allowed_operations": "FAIRLEAD_ALLOWED_OPERATIONS",
        "cache_dir": "FAIRLEAD_CACHE_DIR",
        "cache_bytes": "FAIRLEAD_CACHE_BYTES",
        "ca_file": "FAIRLEAD_CA_FILE",
        "convert_bytes": "FAIRLEAD_CONVERT_BYTES",
        "convert_s": "FAIRLEAD_CONVERT_SECONDS",
        "max_model_bytes": "FAIRLEAD_MAX_MODEL_BYTES",
        "fetch_idle_s": "FAIRLEAD_FETCH_IDLE_SECONDS",
        "fetch_total_s": "FAIRLEAD_FETCH_TOTAL_SECONDS",
        "source_schemes": "FAIRLEAD_SOURCE_SCHEMES",
        "source_hosts": "FAIRLEAD_SOURCE_HOSTS",
        "source_networks": "FAIRLEAD_SOURCE_NETWORKS",
        "source_credentials": "FAIRLEAD_SOURCE_CREDENTIALS",
        "source_secrets_dir": "FAIRLEAD_SOURCE_SECRETS_DIR",
        "source_claims_dir": "FAIRLEAD_SOURCE_CLAIMS_DIR",
        "payload_sink_hosts": "FAIRLEAD_PAYLOAD_SINK_HOSTS",
        "payload_sink_networks": "FAIRLEAD_PAYLOAD_SINK_NETWORKS",
        "payload_sink_credentials": "FAIRLEAD_PAYLOAD_SINK_CREDENTIALS",
        "traces_endpoint": "FAIRLEAD_TRACES_ENDPOINT",
        "traces_ca_file": "FAIRLEAD_TRACES_CA_FILE",
        "traces_sample_percent": "FAIRLEAD_TRACES_SAMPLE_PERCENT",
        "https_proxy": "HTTPS_PROXY",
        "no_proxy": "NO_PROXY",
    }
    given = {field: os.environ[name] for field, name in names.items() if name in os.environ}
    try:
        return Environment.model_validate({"cache_dir": default_dir, **given})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = next(each for each in given if first["loc"][0] in (each, to_camel(each)))
        text = f"{names[field]} of the Ray node is {given[field][:100]!r}: {first['msg']}"
        raise LoadError(LoadReason.NODE_MISCONFIGURED, text) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnvironment:
    """What the Ray node says of itself; set where the Ray node is started.

    `cluster` is `<namespace>/<cluster>`, `replica_host` the address that replicas bind, `folder` holds the replicas'
    files, `directory_host` and `directory_port` are the node's well-known address.
    """

    cluster: str
    replica_host: str
    folder: Path
    directory_host: str
    directory_port: int


def node_environment() -> NodeEnvironment:
    """The Ray node's variables; raises LoadError (NodeMisconfigured) that names the one that is missing or wrong."""
    host, port = _address(_require("FAIRLEAD_NODE_DIRECTORY"))
    cluster = _require("FAIRLEAD_CLUSTER")
    if _CLUSTER.fullmatch(cluster) is None:
        raise _format_error("FAIRLEAD_CLUSTER", cluster, "NAMESPACE/CLUSTER")
    replica_host = _require("FAIRLEAD_REPLICA_HOST")
    if not _is_ip(replica_host):
        raise _format_error("FAIRLEAD_REPLICA_HOST", replica_host, "an IP address")
    folder = Path(_require("FAIRLEAD_NODE_FOLDER"))
    if not folder.is_absolute():
        raise _format_error("FAIRLEAD_NODE_FOLDER", str(folder), "an absolute path")
    return NodeEnvironment(
        cluster=cluster, replica_host=replica_host, folder=folder, directory_host=host, directory_port=port
    )


def _require(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise LoadError(LoadReason.NODE_MISCONFIGURED, f"the Ray node's environment variable {name} is not set")
    return value


def _format_error(name: str, value: str, form: str) -> LoadError:
    return LoadError(LoadReason.NODE_MISCONFIGURED, f"{name} of the Ray node is {value[:100]!r}; it must be {form}")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_right = _is_ip(bare) and (":" in bare) == (bare != host)
    if not is_right or not port.isascii() or not port.isdigit() or not 1 <= int(port[:6]) <= 65535:
        raise _format_error("FAIRLEAD_NODE_DIRECTORY", text, "HOST:PORT with an IP address")
    return bare, int(port)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
