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
HELD_MAX = 1_000_000

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
    """A revision. Gateways find its replicas by asking the nodes of its Ray cluster."""

    cluster: Annotated[
        str,
        rules.text(
            names.CLUSTER_PATTERN, "must be the name of a Ray cluster, a DNS label", max_length=names.CLUSTER_MAX
        ),
        Field(description="The Ray cluster that the replicas of the revision run on."),
    ]
    aliases: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=63)], ...],
        Field(
            max_length=ALIASES_MAX,
            description="Other names by which a request can select the revision, such as its version.",
        ),
    ] = ()


class RouteMatch(ApiModel):
    """A condition on requests: a header or a cookie with this value. Exactly one of them must be set."""

    model_config = ConfigDict(
        json_schema_extra=rules.rules(
            rules.rule("has(self.header) != has(self.cookie)", "must have exactly one of header and cookie")
        )
    )

    header: Annotated[HeaderName, Field(description="The name of the request header.")] | None = None
    cookie: Annotated[CookieName, Field(description="The name of the cookie.")] | None = None
    value: Annotated[MatchValue, Field(description="The exact value of the header or cookie.")]


class RouteSticky(ApiModel):
    """Requests with the same value of a header always meet the same revision."""

    header: Annotated[HeaderName, Field(description="The request header that identifies the client.")]


class RouteHold(ApiModel):
    """The model may have no replica: requests for its stable revision wait at the gateway for one."""

    requests: Annotated[
        int,
        Field(ge=1, le=HELD_MAX, description="The maximum number of waiting requests. Further requests get 503."),
    ]
    seconds: Annotated[
        int,
        Field(ge=1, le=3600, description="The maximum number of seconds that a request waits. After that it gets 503."),
    ]
    parallel: Annotated[
        int,
        Field(
            ge=1,
            le=HELD_MAX,
            description="The number of waiting requests that are sent at the same time when a replica is ready. After "
            "each second, as many more are sent.",
        ),
    ]
    idle_seconds: Annotated[
        int,
        Field(
            ge=1,
            le=SECONDS_MAX,
            description="The number of seconds without a request after which the gateway reports the model as idle.",
        ),
    ]


class ModelRouteSpec(ApiModel):
    """Which revision gets which requests. One that is neither stable nor candidate gets only requests that name it."""

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
        Field(
            description="A hash of the other fields. A gateway reports this value after it applied the route, and "
            "rejects a route with a wrong hash."
        ),
    ]
    retired: Annotated[
        bool,
        Field(
            description="Whether the model is being removed. Gateways stop routing its requests, then the object is "
            "deleted."
        ),
    ] = False
    stable: (
        Annotated[Revision, Field(description="The revision that gets all requests not sent to the candidate.")] | None
    ) = None
    candidate: Annotated[Revision, Field(description="The revision that is being rolled out.")] | None = None
    candidate_weight: Annotated[
        Share,
        Field(description="The share of requests that go to the candidate, in hundredths of a percent (0 to 10000)."),
    ] = 0
    revisions: Annotated[
        dict[str, RouteRevision],
        Field(
            max_length=REVISIONS_MAX,
            description="The revisions that get requests, by their names of 10 hex digits.",
            json_schema_extra=rules.rules(
                rules.rule(
                    f"self.all(name, name.matches('{REVISION_PATTERN}'))",
                    "must have the 10 hex digits of a revision as each key",
                )
            ),
        ),
    ] = Field(default_factory=dict)
    max_request_bytes: (
        Annotated[
            int,
            Field(
                ge=1, le=BYTES_MAX, description="The maximum size of a request body in bytes. A larger body gets 413."
            ),
        ]
        | None
    ) = None
    request_timeout_seconds: (
        Annotated[
            int,
            Field(
                ge=1,
                le=SECONDS_MAX,
                description="The maximum duration of a request in seconds. A request that takes longer gets 504.",
            ),
        ]
        | None
    ) = None
    match: Annotated[
        tuple[RouteMatch, ...],
        Field(
            max_length=MATCHES_MAX,
            description="Conditions on requests. A request that meets one goes to the candidate, whatever the weight.",
        ),
    ] = ()
    sticky: Annotated[RouteSticky, Field(description="Sends all requests of a client to the same revision.")] | None = (
        None
    )
    shadow: Annotated[
        Share,
        Field(
            description="The share of the stable revision's prediction requests that is copied to the candidate, in "
            "hundredths of a percent (0 to 10000)."
        ),
    ] = 0
    hold: (
        Annotated[RouteHold, Field(description="How requests wait in the gateway while the model has no replica.")]
        | None
    ) = None
