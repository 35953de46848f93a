"""``spec.sources`` of a ServingClass: where models may be read from, and what they may contain."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import ClaimName, CredentialsSecretName
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules, text
from fairlead_operator.api.text import LIST_MAP_KEYS, LIST_TYPE

SOURCES_MAX: Final = 32
SECRET_HOSTS_MAX: Final = 8

HostPattern = Annotated[
    str,
    text(
        r"^(([*][.])?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$",
        "must be an exact host name without a port, or a suffix, as in models.example.org or *.example.org",
        rule("!self.contains(':') || isIP(self)", "must be an IPv6 address without brackets and port, as in fd00::1"),
        max_length=253,
    ),
]
_OCTET = "(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"
CidrBlock = Annotated[
    str,
    text(
        f"^({_OCTET}([.]{_OCTET}){{3}}/(3[0-2]|[12]?[0-9])|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$",
        "must be a CIDR range, as in 10.0.0.0/8 or fd00::/8",
        rule(
            "isCIDR(self) && cidr(self).masked() == cidr(self)",
            "must be a CIDR range whose address is the first of the range, as in 10.0.0.0/8 or fd00::/8",
        ),
        max_length=64,
    ),
]
ProxyUrl = Annotated[
    str,
    text(
        r"^http://[A-Za-z0-9._-]+:[0-9]{1,5}/?$",
        "must be http://HOST:PORT without a user or password, as in http://proxy.example.org:3128",
        max_length=300,
    ),
]

NoProxy = Annotated[
    str,
    text(
        r"^[A-Za-z0-9.*:_/-]+$",
        "must be a host name, a suffix of host names, or a CIDR range, as in models.svc, .svc or 10.0.0.0/8",
        rule(
            "isCIDR(self) ? cidr(self).masked() == cidr(self) : isIP(self) || !(self.contains('/') || "
            "self.contains(':'))",
            "must be a host name without a port, or a CIDR range whose address is the first of the range, as in "
            "models.svc or 10.0.0.0/8",
        ),
        max_length=253,
    ),
]


OPERATIONS_MAX: Final = 64
OperationName = Annotated[
    str,
    text(
        r"^[A-Z][A-Za-z0-9]*(>[A-Z][A-Za-z0-9]*)?$",
        "must be the name of a TensorFlow operation, as in PrintV2",
        max_length=128,
    ),
]


class SourceCredentials(ApiModel):
    """A Secret with credentials, and the hosts that they may be sent to."""

    secret_name: CredentialsSecretName
    """The name of the Secret, which a ModelDeployment selects with `spec.model.credentialsSecretName`."""
    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1, max_length=SECRET_HOSTS_MAX)]
    """The hosts that the credentials may be sent to: exact names, or suffixes such as `*.example.org`. Without
    `spec.model.endpoint`, these are the hosts of the cloud's store, for example `s3.eu-central-1.amazonaws.com`. Do not
    list a suffix under which others can create hosts, such as `*.amazonaws.com`.
    """


class Scheme(StrEnum):
    """The scheme of a model's URI."""

    AZURE = "az"
    FILE = "file"
    GOOGLE = "gs"
    HUB = "hf"
    HTTP = "http"
    HTTPS = "https"
    MLFLOW = "models"
    REGISTRY = "oci"
    CLAIM = "pvc"
    S3 = "s3"


class Sources(ApiModel):
    """Where models may be read from, with which credentials, and which operations they may contain."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.noProxy) || has(self.httpsProxy)",
                "has no effect without spec.sources.httpsProxy: set that as well, or remove this field",
                field=".noProxy",
            )
        )
    )

    allowed_schemes: Annotated[
        tuple[Scheme, ...], Field(max_length=len(Scheme), json_schema_extra={LIST_TYPE: "set"})
    ] = ()
    """The schemes that `spec.model.uri` of a ModelDeployment may have, for example `https` and `s3`. If empty, every
    scheme is allowed. With `file`, a model can be any file that the worker pod can read, except the Secrets, the
    cache and the folders of the system.
    """
    allowed_hosts: Annotated[tuple[HostPattern, ...], Field(max_length=SOURCES_MAX)] = ()
    """The hosts that models may be read from: exact names, or suffixes such as `*.example.org`. A redirect to another
    host is refused. If empty, every host is allowed. The address of a host must be public or in `allowedNetworks`.
    """
    allowed_networks: Annotated[tuple[CidrBlock, ...], Field(max_length=SOURCES_MAX)] = ()
    """CIDR ranges of non-public addresses that models may be read from, for example `10.96.0.0/12` for the Services of
    the cluster. Public addresses need no entry. Link-local addresses and the metadata services of clouds are never
    allowed.
    """
    credentials: Annotated[
        tuple[SourceCredentials, ...],
        Field(max_length=SOURCES_MAX, json_schema_extra={LIST_MAP_KEYS: ["secretName"]}),
    ] = ()
    """The Secrets that ModelDeployments may select with `spec.model.credentialsSecretName`, each with the hosts that it
    may be sent to. The worker pods mount each of them that exists in their namespace. Every model on a worker pod can
    read them.
    """
    volume_claim_names: Annotated[
        tuple[ClaimName, ...], Field(max_length=SOURCES_MAX, json_schema_extra={LIST_TYPE: "set"})
    ] = ()
    """The names of the PersistentVolumeClaims that ModelDeployments may read models from with `pvc://CLAIM/PATH`. The
    worker pods mount all of them read-only, and do not start while one does not exist in their namespace.
    """
    allowed_operations: Annotated[
        tuple[OperationName, ...], Field(max_length=OPERATIONS_MAX, json_schema_extra={LIST_TYPE: "set"})
    ] = ()
    """The TensorFlow operations that a SavedModel may contain beside those that compute, for example `PrintV2`. A model
    with an operation that reads or writes files, such as `ReadFile`, can read everything that its worker pod can:
    allow one only if you trust the authors of all models of the class.
    """
    https_proxy: ProxyUrl | None = None
    """The URL of the proxy for `https` requests that read models, as `http://HOST:PORT`. If unset, no proxy is used."""
    no_proxy: Annotated[tuple[NoProxy, ...], Field(max_length=SOURCES_MAX)] = ()
    """The hosts that are asked without the proxy: host names, suffixes such as `.svc`, or CIDR ranges. A CIDR range
    applies only if the URI contains an IP address, not to the addresses of a host name.
    """
