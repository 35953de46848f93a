"""What connections to other servers are for, in the words of a refusal, and where the platform sets the rules."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """`field` is of the ServingClass, `variable` begins the names of the Ray node's variables.

    `named_by` is the field that names the Secret for the connections, `server` is what it is for.
    """

    subject: str
    verb: str
    field: str
    variable: str
    named_by: str
    server: str
    is_opt_in: bool = False
    """Whether only hosts that are listed may be asked, none without a list."""


MODELS = Purpose(
    subject="models",
    verb="read from",
    field="spec.sources",
    variable="FAIRLEAD_SOURCE",
    named_by="spec.model.credentialsSecretName",
    server="an http or https source",
)
PAYLOADS = Purpose(
    subject="events",
    verb="sent to",
    field="spec.payloadSinks",
    variable="FAIRLEAD_PAYLOAD_SINK",
    named_by="spec.monitoring.payloads.credentialsSecretName",
    server="a sink of the payload log",
    is_opt_in=True,
)
