"""``spec.payloadSinks`` of a ServingClass: where replicas may send events of the payload log."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.sources import CidrBlock, HostPattern

SINKS_MAX: Final = 32


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
