"""What a person writes in ``spec.monitoring.payloads``: which inputs and answers leave the replicas, and to where."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import CredentialsSecretName, SinkUrl
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules
from fairlead_operator.api.text import LIST_TYPE

NAMES_MAX = 64
TensorName = Annotated[str, Field(min_length=1, max_length=253)]
TensorNames = Annotated[tuple[TensorName, ...], Field(max_length=NAMES_MAX, json_schema_extra={LIST_TYPE: "set"})]


class Payloads(ApiModel):
    """Which inputs and outputs of answered predictions are sent to a sink, and what is left out of them."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.redact) || !has(self.keepText) || self.redact.all(name, !(name in self.keepText))",
                "must not name an input or output that is also in spec.monitoring.payloads.redact: remove it from one "
                "of both lists",
                field=".keepText",
            )
        )
    )

    url: SinkUrl
    """The URL that receives the events: each is a `POST` of one CloudEvent 1.0 as `application/cloudevents+json`. The
    `spec.payloadSinks` of the ServingClass must allow its host and address, or no event is sent. Redirects are not
    followed. Must not contain credentials.
    """
    credentials_secret_name: CredentialsSecretName | None = None
    """The name of the Secret with the credentials for `url`, in the namespace of the ModelDeployment: a key `token`, or
    the keys `username` and `password`. The `spec.payloadSinks.credentials` of the ServingClass must list it with the
    host of `url`, or no event is sent. They are sent to `https` addresses, and to `http` addresses in
    `spec.payloadSinks.allowedNetworks`. If unset, events are sent without credentials.
    """
    sample_percent: Annotated[int, Field(ge=1, le=100)]
    """The percentage of the answered predictions that are sent, from 1 to 100. The value of `x-request-id`
    decides, so that all revisions that answer a request agree.
    """
    redact: TensorNames = ()
    """The names of inputs and outputs whose values are left out of the events. Their data types and shapes are kept. If
    the model has no input or output of one of the names, no events are sent.
    """
    keep_text: TensorNames = ()
    """The names of inputs and outputs of the data type `BYTES` (strings, and files such as images) whose values are
    kept in the events. The values of all others of that type are left out.
    """
    max_event_bytes: Annotated[int, Field(ge=1024, le=1048576)] = 65536
    """The maximum size of an event in bytes. If an event would be larger, the values of its largest inputs and outputs
    are left out. Default: 65536.
    """
