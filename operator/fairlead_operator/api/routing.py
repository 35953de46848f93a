"""Which requests meet a candidate besides its weight: ``spec.rollout.match``, ``sticky`` and ``shadow``."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api.fields import CookieName, HeaderName, MatchValue
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.rules import rule, rules


class Match(ApiModel):
    """A condition on requests. A request that meets it goes to the candidate, whatever the candidate's weight is."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.header) != has(self.cookie)",
                "must have exactly one of header and cookie, as in {header: x-group, value: beta}",
            )
        )
    )

    header: HeaderName | None = None
    """The name of a request header, case-insensitive. Exactly one of `header` and `cookie` must be set."""
    cookie: CookieName | None = None
    """The name of a cookie, case-sensitive. Exactly one of `header` and `cookie` must be set."""
    value: MatchValue
    """The exact value that the header or cookie must have, case-sensitive."""


class Sticky(ApiModel):
    """How the requests of one client are kept at one revision."""

    header: HeaderName
    """The name of the request header that identifies the client. Requests with the same value go to the same revision
    while the weight does not change. Requests without the header are distributed by the weight alone.
    """


class Shadow(ApiModel):
    """How much of the traffic is copied to the candidate. The answers of the candidate are compared and discarded."""

    percent: Annotated[int, Field(ge=1, le=100)]
    """The percentage of the stable revision's prediction requests that is copied to the candidate."""
