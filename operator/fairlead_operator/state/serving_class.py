"""What a platform engineer decides about the pods that serve models; nothing of it is a model's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead_operator.api import gateway, payload_sinks, quantities, tracing
from fairlead_operator.api import serving_class as api


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSize:
    """Requests of a pod's container, and its limit of memory."""

    cpu_millicores: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RayPods:
    """The pods of one kind, and where they may run. ``tolerations`` are as in a pod."""

    size: PodSize
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    priority_class: str | None = None

    @property
    def ray_cores(self) -> int:
        """How many cores Ray offers replicas on such a pod: a whole number."""
        return -(-self.size.cpu_millicores // 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The ConfigMap with the keys that sign tokens, and what these must claim: each claim with its values."""

    config_map: str
    issuer: str
    audiences: Sequence[str]
    algorithms: Sequence[str]
    clock_skew_s: int
    claims: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPods:
    """The gateway pods of a namespace, and the type of the Service that clients call."""

    image: str
    replicas: int
    service_type: str
    size: PodSize
    allowed_origins: Sequence[str] = ()
    tls_secret: str | None = None
    """The Secret with the certificate of the port for clients; None where they use no TLS."""
    api_keys_secret: str | None = None
    """The Secret with the API keys of clients; None where they need none."""
    tokens: Tokens | None = None
    """Which JSON Web Tokens are accepted; None where clients send none."""
    rate_limit: tuple[int, int] | None = None
    """Requests per second and burst of each client at each pod; None where clients are not limited."""
    has_access_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadStorage:
    """The Redis that keeps the state of Ray's heads; ``password`` is a Secret's name and key in the namespace."""

    redis_address: str
    password: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHosts:
    """A Secret by its name, and the hosts that it may be sent to."""

    secret: str
    hosts: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where models may be read from: schemes, hosts, networks, the proxy, and the Secrets and claims of pods.

    ``operations`` are those of TensorFlow that models may contain beside those that only compute.
    """

    schemes: Sequence[str] = ()
    hosts: Sequence[str] = ()
    networks: Sequence[str] = ()
    credentials: Sequence[SecretHosts] = ()
    claims: Sequence[str] = ()
    https_proxy: str | None = None
    no_proxy: Sequence[str] = ()
    operations: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """The collector that gateways and replicas send spans to, and of how many requests without a parent they do.

    ``ca_config_map`` holds the authorities that are trusted for it; None for those of the image alone.
    """

    endpoint: str
    sample_percent: float
    ca_config_map: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadSinks:
    """Where replicas may send events of the payload log."""

    hosts: Sequence[str]
    networks: Sequence[str] = ()
    credentials: Sequence[SecretHosts] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingClass:
    """The Ray clusters and gateways of a class: the images (best by digest), the Ray in them, and the pods."""

    name: str
    image: str
    ray_version: str
    head: RayPods
    worker: RayPods
    workers_min: int
    workers_max: int
    idle_s: int = api.IDLE_DEFAULT_S
    """How long a worker is without replicas before it is removed, where the number of workers may change."""
    gateway: GatewayPods
    head_storage: HeadStorage | None = None
    image_pull_secrets: Sequence[str] = ()
    sources: Sources = Sources()
    tracing: Tracing | None = None
    payload_sinks: PayloadSinks | None = None

    @property
    def is_scaled(self) -> bool:
        """Whether Ray's autoscaler decides the number of workers."""
        return self.workers_max > self.workers_min


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClass:
    """A ServingClass as the API server has it; ``created_at`` is as there, and so sorts by time."""

    name: str
    created_at: str
    is_default: bool
    content: ServingClass


def from_spec(name: str, spec: api.ServingClassSpec) -> ServingClass:
    """The class that an object's spec describes."""
    return ServingClass(
        name=name,
        image=spec.image,
        ray_version=spec.ray_version,
        head=_ray_pods(spec.head),
        worker=_ray_pods(spec.worker),
        workers_min=spec.workers.min,
        workers_max=spec.workers.max,
        idle_s=api.IDLE_DEFAULT_S if spec.workers.idle_seconds is None else spec.workers.idle_seconds,
        gateway=GatewayPods(
            image=spec.gateway.image,
            replicas=spec.gateway.replicas,
            service_type=spec.gateway.service_type.value,
            size=_size(spec.gateway.resources.cpu, spec.gateway.resources.memory),
            allowed_origins=spec.gateway.allowed_origins,
            tls_secret=None if spec.gateway.tls is None else spec.gateway.tls.secret_name,
            api_keys_secret=_api_keys_secret(spec.gateway.authentication),
            tokens=_tokens(spec.gateway.authentication),
            rate_limit=_rate_limit(spec.gateway.rate_limit),
            has_access_log=spec.gateway.access_log is gateway.AccessLog.JSON,
        ),
        head_storage=_head_storage(spec.gcs_fault_tolerance),
        image_pull_secrets=spec.image_pull_secrets,
        sources=Sources(
            schemes=[each.value for each in spec.sources.allowed_schemes],
            hosts=spec.sources.allowed_hosts,
            networks=spec.sources.allowed_networks,
            credentials=tuple(
                SecretHosts(secret=each.secret_name, hosts=each.hosts) for each in spec.sources.credentials
            ),
            claims=spec.sources.volume_claim_names,
            https_proxy=spec.sources.https_proxy,
            no_proxy=spec.sources.no_proxy,
            operations=spec.sources.allowed_operations,
        ),
        tracing=_tracing(spec.tracing),
        payload_sinks=_payload_sinks(spec.payload_sinks),
    )


def _payload_sinks(given: payload_sinks.PayloadSinks | None) -> PayloadSinks | None:
    if given is None:
        return None
    return PayloadSinks(
        hosts=given.allowed_hosts,
        networks=given.allowed_networks,
        credentials=tuple(SecretHosts(secret=each.secret_name, hosts=each.hosts) for each in given.credentials),
    )


def find_defaults(classes: Iterable[StoredClass]) -> tuple[StoredClass, ...]:
    """The classes that are marked as the default, oldest first; the first one is used."""
    return tuple(sorted((each for each in classes if each.is_default), key=lambda each: (each.created_at, each.name)))


def find_class(classes: Mapping[str, StoredClass], name: str | None) -> StoredClass | None:
    """The class of a model that names this one, or names none; None where there is no such class."""
    if name is not None:
        return classes.get(name)
    return next(iter(find_defaults(classes.values())), None)


def describe_missing(name: str | None) -> str:
    """What is said to a model whose spec names this class, or none, and what helps."""
    if name is None:
        return "No ServingClass has spec.default: true. Set it in one ServingClass, or set spec.cluster.class."
    return f"ServingClass {name} does not exist. Create it, or set spec.cluster.class to an existing one."


def _api_keys_secret(chosen: gateway.GatewayAuthentication | None) -> str | None:
    return None if chosen is None or chosen.api_keys is None else chosen.api_keys.secret_name


def _tokens(chosen: gateway.GatewayAuthentication | None) -> Tokens | None:
    if chosen is None or chosen.jwt is None:
        return None
    return Tokens(
        config_map=chosen.jwt.config_map_name,
        issuer=chosen.jwt.issuer,
        audiences=chosen.jwt.audiences,
        algorithms=tuple(each.value for each in chosen.jwt.algorithms),
        clock_skew_s=chosen.jwt.clock_skew_seconds,
        claims=tuple((each.name, each.values) for each in chosen.jwt.required_claims),
    )


def _rate_limit(chosen: gateway.RateLimit | None) -> tuple[int, int] | None:
    if chosen is None:
        return None
    rate = chosen.requests_per_second
    return rate, rate if chosen.burst is None else chosen.burst


def _tracing(chosen: tracing.Tracing | None) -> Tracing | None:
    if chosen is None:
        return None
    return Tracing(
        endpoint=chosen.endpoint,
        sample_percent=chosen.sample_percent,
        ca_config_map=chosen.ca_config_map_name,
    )


def _head_storage(chosen: api.GcsFaultTolerance | None) -> HeadStorage | None:
    if chosen is None:
        return None
    secret = chosen.redis_password
    return HeadStorage(
        redis_address=chosen.redis_address, password=None if secret is None else (secret.name, secret.key)
    )


def _ray_pods(pods: api.RayPods) -> RayPods:
    return RayPods(
        size=_size(pods.cpu, pods.memory),
        node_selector=pods.node_selector,
        tolerations=tuple(each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in pods.tolerations),
        priority_class=pods.priority_class_name,
    )


def _size(cpu: str, memory: str) -> PodSize:
    return PodSize(cpu_millicores=int(quantities.parse(cpu) * 1000), memory_bytes=int(quantities.parse(memory)))
