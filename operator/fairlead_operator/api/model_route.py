"""The kind ``ModelRoute``: where the requests for one model go. The operator writes it and the gateways read it.

Source: docs/contracts.md, "Operator → gateway: routes".
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from fairlead_operator.api import names, rules
from fairlead_operator.api.model import ApiModel

BASIS_POINTS = 10_000
MATCHES_MAX = 8
REVISIONS_MAX = 8
ALIASES_MAX = 8
SECONDS_MAX = 86_400
BYTES_MAX = 1 << 40

REVISION_PATTERN = "^[0-9a-f]{10}$"
Revision = Annotated[str, rules.text(REVISION_PATTERN, "must be the 10 hex digits of a revision", max_length=10)]
Share = Annotated[int, Field(ge=0, le=BASIS_POINTS)]
HeaderName = Annotated[
    str,
    rules.text(
        "^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$",
        "must be letters, digits, _ and -, beginning and ending with a letter or digit",
        max_length=64,
    ),
]
CookieName = Annotated[
    str,
    rules.text(
        "^[A-Za-z0-9_][A-Za-z0-9._-]*$", "must be letters, digits, ., _ and -, not beginning with . or -", max_length=64
    ),
]
MatchValue = Annotated[
    str,
    rules.text(
        "^[!#-+\\-.-:<-\\[\\]-~]+$", "must be printable ASCII without spaces, quotes, commas, ; and \\", max_length=128
    ),
]


class RouteRevision(ApiModel):
    """A revision that gateways know; its replicas are found by asking the nodes of its Ray cluster."""

    cluster: Annotated[
        str,
        rules.text(
            names.CLUSTER_PATTERN, "must be the name of a Ray cluster, a DNS label", max_length=names.CLUSTER_MAX
        ),
        Field(description="The Ray cluster that its replicas run on."),
    ]
    aliases: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...],
        Field(max_length=ALIASES_MAX, description="Other names by which a request may ask for it."),
    ] = ()


class RouteMatch(ApiModel):
    """Requests with exactly this value go to the candidate, whatever its weight; a header or a cookie, not both."""

    model_config = ConfigDict(
        json_schema_extra=rules.rules(
            rules.rule("has(self.header) != has(self.cookie)", "must have exactly one of header and cookie")
        )
    )

    header: Annotated[HeaderName, Field(description="The header that has to have the value.")] | None = None
    cookie: Annotated[CookieName, Field(description="The cookie that has to have the value.")] | None = None
    value: Annotated[MatchValue, Field(description="The whole value.")]


class RouteSticky(ApiModel):
    """Requests with the same value of a header always meet the same revision."""

    header: Annotated[HeaderName, Field(description="The header whose hash decides in place of a counter.")]


class ModelRouteSpec(ApiModel):
    """Where requests go. A revision that is neither stable nor candidate drains: it takes only pinned requests."""

    model_config = ConfigDict(
        json_schema_extra=rules.rules(
            rules.rule(
                "!has(self.stable) || (has(self.revisions) && self.stable in self.revisions)",
                "must be one of the revisions",
                field=".stable",
            ),
            rules.rule(
                "!has(self.candidate) || (has(self.revisions) && self.candidate in self.revisions)",
                "must be one of the revisions",
                field=".candidate",
            ),
        )
    )

    version: Annotated[
        str,
        rules.text("^[0-9a-f]{16}$", "must be the first 16 hex digits of the content's SHA-256", max_length=16),
        Field(description="Names the content. A gateway reports it once it routes so, and refuses another one."),
    ]
    retired: Annotated[
        bool, Field(description="No gateway routes anything for this model any more; then the object is deleted.")
    ] = False
    stable: Annotated[Revision, Field(description="The revision that takes what the candidate doesn't.")] | None = None
    candidate: Annotated[Revision, Field(description="The revision that is being rolled out.")] | None = None
    candidate_weight: Annotated[
        Share, Field(description="The candidate's share of requests, in hundredths of a percent.")
    ] = 0
    revisions: Annotated[
        dict[str, RouteRevision],
        Field(
            max_length=REVISIONS_MAX,
            description="Every revision that takes requests, by name.",
            json_schema_extra=rules.rules(
                rules.rule(
                    f"self.all(name, name.matches('{REVISION_PATTERN}'))",
                    "must have the 10 hex digits of a revision as each key",
                )
            ),
        ),
    ] = Field(default_factory=dict)
    max_request_bytes: (
        Annotated[int, Field(ge=1, le=BYTES_MAX, description="A larger request is refused with 413.")] | None
    ) = None
    request_timeout_seconds: (
        Annotated[int, Field(ge=1, le=SECONDS_MAX, description="A request that takes longer is answered with 504.")]
        | None
    ) = None
    match: Annotated[
        tuple[RouteMatch, ...], Field(max_length=MATCHES_MAX, description="Requests that go to the candidate.")
    ] = ()
    sticky: Annotated[RouteSticky, Field(description="What keeps a client on one revision.")] | None = None
    shadow: Annotated[
        Share,
        Field(description="The share of the stable revision's predictions that is copied to the candidate."),
    ] = 0
