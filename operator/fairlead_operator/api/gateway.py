"""The gateway of each namespace, as a ServingClass describes it: its pods, and who may send what to it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import ApiKeysSecretName, Cpu, JwksConfigMapName, Memory, TlsSecretName
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import at_least, rule, rules, text

GATEWAYS_MAX: Final = 100
ORIGINS_MAX: Final = 16
RATE_MAX: Final = 100_000


def image(example: str) -> Any:
    """A field with the name of an image."""
    return text(
        r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$",
        f"must be the name of an image, preferably with a digest, as in registry.example.org/{example}@sha256:…",
        max_length=512,
    )


GatewayImage = Annotated[str, image("gateway")]

Origin = Annotated[
    str,
    text(
        r"^([*]|https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?)$",
        "must be an origin as browsers send it, in lower case and without a path, as in https://app.example.org or "
        "http://localhost:3000, or *, which stands for every origin",
        rule(
            "!self.matches('^(http://.*:80|https://.*:443)$')",
            "must not have the default port (80 for http, 443 for https), as browsers leave it out",
        ),
        max_length=300,
    ),
]


_URI_PATTERN: Final = r"^[A-Za-z0-9._~:/?#@!&()*+,;=%|-]+$"
_URI_MESSAGE: Final = "must be letters, digits and characters of ._~:/?#@!&()*+,;=%|-"
TokenText = Annotated[str, text(_URI_PATTERN, _URI_MESSAGE, max_length=300)]
ClaimText = Annotated[str, text(_URI_PATTERN, _URI_MESSAGE, max_length=128)]


class Algorithm(StrEnum):
    """How a token is signed: with a private key of the issuer. What both sides would have to know is not accepted."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"


class ServiceType(StrEnum):
    """The type of a Service."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class AccessLog(StrEnum):
    """What the access log of a gateway pod consists of."""

    OFF = "Off"
    JSON = "Json"


class GatewayResources(ApiModel):
    """The CPU and memory of each gateway pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            at_least("cpu", "50m", "must be at least 50m: a gateway does not start in time with less"),
            at_least("memory", "256Mi", "must be at least 256Mi: HAProxy and its agent need it"),
        )
    )

    cpu: Cpu = "250m"
    """The CPU request of each gateway pod, at least `50m`, such as `250m` or `1`. There is no CPU limit. Default:
    250m.
    """
    memory: Memory = "512Mi"
    """The memory request and limit of each gateway pod, at least `256Mi`, such as `512Mi`. Default: 512Mi."""


class GatewayTls(ApiModel):
    """TLS on the port of the gateway to which clients send requests."""

    secret_name: TlsSecretName
    """The name of a Secret of type `kubernetes.io/tls` with the certificate, followed by its chain (`tls.crt`), and its
    private key (`tls.key`). It must exist in each namespace with models. A changed certificate is used for new
    connections without a restart. TLS 1.2 and 1.3 are accepted.
    """


class RateLimit(ApiModel):
    """How many requests each client may send to each gateway pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.burst) || self.burst * 10 >= self.requestsPerSecond",
                "must be at least a tenth of requestsPerSecond",
                field=".burst",
            ),
            rule(
                "!has(self.burst) || self.burst <= self.requestsPerSecond * 60",
                "must be at most 60 times requestsPerSecond",
                field=".burst",
            ),
        )
    )

    requests_per_second: Annotated[int, Field(ge=1, le=RATE_MAX)]
    """The number of requests per second that a client may send to a gateway pod on average."""
    burst: Annotated[int, Field(ge=1, le=RATE_MAX * 60)] | None = None
    """The number of requests that a client may send at once after a pause, from a tenth of `requestsPerSecond` to 60
    times as many. Default: the value of `requestsPerSecond`.
    """


class ApiKeys(ApiModel):
    """The API keys of clients, in a Secret."""

    secret_name: ApiKeysSecretName
    """The name of a Secret, in which each key is the name of a client and each value its API key: 20 to 512 ASCII
    characters without spaces. A value can have up to 4 API keys, one on each line, so that a client can change its key.
    The Secret must exist in each namespace with models. Changes are applied without a restart.
    """


class RequiredClaim(ApiModel):
    """A claim that each token must have."""

    name: ClaimText
    """The name of the claim, such as `scope` or `groups`. It must be a member of the token itself, not of an object in
    it.
    """
    values: Annotated[tuple[ClaimText, ...], Field(min_length=1, max_length=16)]
    """The values that are accepted. The claim must be one of them, or a list that contains one. The words of the claim
    `scope` count one by one.
    """


class Jwt(ApiModel):
    """JSON Web Tokens of one issuer, which is not asked: its public keys are in a ConfigMap."""

    config_map_name: JwksConfigMapName
    """The name of a ConfigMap with the JSON Web Key Set of the issuer in the key `jwks.json`: up to 32 public keys, RSA
    of 2048 to 4096 bits or P-256 or P-384, each with its `kid`. It must exist in each namespace with models. Changes
    are applied without a restart.
    """
    issuer: TokenText
    """The issuer: what a token must have as `iss`, such as `https://issuer.example.org/realms/models`."""
    audiences: Annotated[tuple[TokenText, ...], Field(min_length=1, max_length=16)]
    """The audiences. A token must have one of them as `aud`, or in it if that is a list."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(max_length=8)] = ()
    """The algorithms that keys may have. A key has one: its `alg` or, without it, `RS256`, `ES256` or `ES384` by its
    kind. If empty, all of them are accepted: RS256, RS384, RS512, PS256, PS384, PS512, ES256 and ES384.
    """
    clock_skew_seconds: Annotated[int, Field(ge=0, le=300)] = 60
    """How far the clocks of the issuer and of the gateway may differ, in seconds: a token is accepted so long before
    its `nbf` and after its `exp`. Default: 60.
    """
    required_claims: Annotated[tuple[RequiredClaim, ...], Field(max_length=8)] = ()
    """The claims that a token must have, all of them. A token that lacks one is refused with 403 (PERMISSION_DENIED for
    gRPC).
    """


class GatewayAuthentication(ApiModel):
    """How clients of the gateway prove who they are. With both kinds either one is enough."""

    model_config = ConfigDict(
        json_schema_extra=rules(rule("has(self.apiKeys) || has(self.jwt)", "must have apiKeys, jwt or both"))
    )

    api_keys: ApiKeys | None = None
    """The API keys of clients. A client sends its key in the header `authorization: Bearer KEY` or `x-api-key: KEY`."""
    jwt: Jwt | None = None
    """JSON Web Tokens of clients. A client sends its token in the header `authorization: Bearer TOKEN`."""


class Gateway(ApiModel):
    """The gateway of each namespace: the pods that receive the requests of clients and send them to the replicas."""

    image: GatewayImage
    """The image of the gateway, preferably with a digest."""
    replicas: Annotated[int, Field(ge=1, le=GATEWAYS_MAX)] = 2
    """The number of gateway pods in each namespace. With 1, requests fail while the pod is replaced. Default: 2."""
    service_type: ServiceType = ServiceType.CLUSTER_IP
    """The type of the Service `fairlead-gateway`, to which clients send requests: `ClusterIP`, `NodePort` or
    `LoadBalancer`. Default: ClusterIP.
    """
    resources: GatewayResources = GatewayResources()
    """The CPU and memory of each gateway pod."""
    allowed_origins: Annotated[
        tuple[Origin, ...],
        Field(
            max_length=ORIGINS_MAX,
            json_schema_extra=rules(
                rule("self.size() <= 1 || !('*' in self)", "must hold no other origin beside *, which stands for all")
            ),
        ),
    ] = ()
    """The origins of the web pages that may send requests to models from a browser (CORS), such as
    `https://app.example.org`, or `*` alone for every origin. If empty, browsers refuse such requests. Clients that are
    not browsers are not affected.
    """
    tls: GatewayTls | None = None
    """TLS on the port to which clients send requests. If set, the Service `fairlead-gateway` has the port 443 in place
    of 80, and clients must use `https`, or a secure channel for gRPC. If unset, requests are not encrypted.
    """
    authentication: GatewayAuthentication | None = None
    """How clients prove who they are. If set, requests without a valid credential are refused with 401 (UNAUTHENTICATED
    for gRPC), except health checks. If unset, everyone who reaches the gateway can send requests.
    """
    rate_limit: RateLimit | None = None
    """How many requests each client may send to each gateway pod. More are refused with 429 (RESOURCE_EXHAUSTED for
    gRPC). A client is the owner of an API key, the `sub` of a token or, without `authentication`, a source address:
    an IPv4 address or the first 64 bits of an IPv6 address. Health checks are not limited. If unset, clients are not
    limited.
    """
    access_log: AccessLog = AccessLog.OFF
    """The access log of the gateway pods, `Off` or `Json`. With `Json`, each pod writes a line of JSON to its standard
    output for each request of a client: time, request ID, address and name of the client, method, path, model,
    revision, status code, duration, bytes and retries. Default: Off.
    """
