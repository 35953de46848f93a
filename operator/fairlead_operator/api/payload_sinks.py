"""``spec.payloadSinks`` of a ServingClass: where replicas may send events of the payload log."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from fairlead_operator.api.fields import CredentialsSecretName
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.sources import SECRET_HOSTS_MAX, CidrBlock, HostPattern
from fairlead_operator.api.text import LIST_MAP_KEYS

SINKS_MAX: Final = 32


class SinkCredentials(ApiModel):
    """A Secret with credentials, and the hosts that they may be sent to."""

    secret_name: CredentialsSecretName
    """The name of the Secret, which a ModelDeployment selects with `spec.monitoring.payloads.credentialsSecretName`."""
    hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1, max_length=SECRET_HOSTS_MAX)]
    """The hosts that the credentials may be sent to: exact names, or suffixes such as `*.example.org`. Each must be in
    `allowedHosts` as well. Do not list a suffix under which others can create hosts.
    """


class PayloadSinks(ApiModel):
    """The hosts and networks that `spec.monitoring.payloads` of a ModelDeployment may name."""

    allowed_hosts: Annotated[tuple[HostPattern, ...], Field(min_length=1, max_length=SINKS_MAX)]
    """The hosts that events of the payload log may be sent to: exact names, or suffixes such as `*.example.org`. The
    address of a host must be public or in `allowedNetworks`.
    """
    allowed_networks: Annotated[tuple[CidrBlock, ...], Field(max_length=SINKS_MAX)] = ()
    """CIDR ranges of non-public addresses that events may be sent to, for example `10.96.0.0/12` for the Services of
    the cluster. Public addresses need no entry. Link-local addresses and the metadata services of clouds are never
    allowed.
    """
    credentials: Annotated[
        tuple[SinkCredentials, ...],
        Field(max_length=SINKS_MAX, json_schema_extra={LIST_MAP_KEYS: ["secretName"]}),
    ] = ()
    """The Secrets that ModelDeployments may select with `spec.monitoring.payloads.credentialsSecretName`, each with the
    hosts that it may be sent to. The worker pods mount each of them that exists in their namespace. Every model on a
    worker pod can read them.
    """
