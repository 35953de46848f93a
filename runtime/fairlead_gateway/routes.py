"""The route table as the operator writes it: read, checked, and kept when an entry is bad.

Source: docs/contracts.md, "Operator → gateway: the route table".
"""

import enum
import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

CONFIG_MAP_NAME = "fairlead-routes"
WEIGHT_SCALE = 10_000
"""A weight is in hundredths of a percent."""

_MODEL_NAME = re.compile(r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$")
RevisionName = Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{10}$")]
Alias = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
HeaderName = Annotated[
    str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$", to_lower=True)
]
CookieName = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]
MatchValue = Annotated[str, pydantic.StringConstraints(pattern=r"^[!#-+\--:<-\[\]-~]{1,128}$")]
"""What a cookie may hold. Source: RFC 6265, section 4.1.1, cookie-octet"""

MATCHES_MAX = 8
OWN_PREFIX = "x-fairlead-"
"""Headers that mean something to the gateway already."""

Host = ipaddress.IPv4Address
"""Not a name: HAProxy refuses a whole configuration for one name that can't be resolved."""


class InvalidRouteError(ValueError):
    """An entry of the table that can't be applied; the text says what is wrong with which field."""


class _Ports(pydantic.BaseModel):
    host: Host
    first: int = pydantic.Field(ge=1, le=65535)
    count: int = pydantic.Field(ge=1, le=256)
    window: int = pydantic.Field(ge=0)


class _Revision(pydantic.BaseModel):
    ports: _Ports
    aliases: list[Alias] = []


class _Match(pydantic.BaseModel):
    header: HeaderName | None = None
    cookie: CookieName | None = None
    value: MatchValue


class _Sticky(pydantic.BaseModel):
    header: HeaderName


class _Entry(pydantic.BaseModel):
    schema_: Literal[1] = pydantic.Field(alias="schema")
    version: Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    stable: RevisionName | None
    candidate: RevisionName | None = None
    candidate_weight: int = pydantic.Field(alias="candidateWeight", default=0, ge=0, le=WEIGHT_SCALE)
    revisions: dict[RevisionName, _Revision]
    max_request_bytes: int = pydantic.Field(alias="maxRequestBytes", ge=1, le=1 << 40)
    request_timeout_s: float = pydantic.Field(alias="requestTimeoutSeconds", gt=0, le=86_400)
    match: Annotated[list[_Match], pydantic.Field(max_length=MATCHES_MAX)] = []
    sticky: _Sticky | None = None
    shadow: int = pydantic.Field(default=0, ge=0, le=WEIGHT_SCALE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """Where the replicas of one revision may listen, and the names it answers to."""

    name: str
    host: str
    first_port: int
    ports: int
    window: int
    aliases: tuple[str, ...]


class MatchKind(enum.StrEnum):
    """Where a request carries the value that sends it to the candidate."""

    HEADER = "header"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A request with exactly this value goes to the candidate, whatever its weight."""

    kind: MatchKind
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One model's entry. `text` is the entry as it was read.

    With `sticky_header` a hash of that header's value decides in place of the counter; `shadow_share` of the stable's
    requests is marked, in hundredths of a percent.
    """

    model: str
    version: str
    stable: str | None
    candidate: str | None
    candidate_weight: int
    revisions: tuple[Revision, ...]
    max_request_bytes: int
    request_timeout_ms: int
    matches: tuple[Match, ...]
    sticky_header: str | None
    shadow_share: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The routes to apply, and for each entry that was refused the reason (its last good route is kept in `routes`)."""

    routes: Mapping[str, Route]
    errors: Mapping[str, str]


EMPTY_TABLE = Table(routes={}, errors={})


def entry_version(entry: Mapping[str, Any]) -> str:
    """The version that an entry must carry: what two entries with the same content share."""
    content = {key: value for key, value in entry.items() if key != "version"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def parse_route(model: str, text: str) -> Route:
    """Read one entry.

    Raises:
        InvalidRouteError: when the entry can't be applied as it stands.
    """
    if not _MODEL_NAME.match(model):
        raise InvalidRouteError(f"{model!r} is not a model name")
    try:
        raw = json.loads(text)
        entry = _Entry.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRouteError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    except ValueError as error:
        raise InvalidRouteError(f"not JSON: {error}") from error
    _check_whole(entry, raw)
    return Route(
        model=model,
        version=entry.version,
        stable=entry.stable,
        candidate=entry.candidate,
        candidate_weight=entry.candidate_weight,
        revisions=tuple(_revision(name, entry.revisions[name]) for name in sorted(entry.revisions)),
        max_request_bytes=entry.max_request_bytes,
        request_timeout_ms=max(1, round(entry.request_timeout_s * 1000)),
        matches=tuple(_match(match) for match in entry.match),
        sticky_header=entry.sticky.header if entry.sticky is not None else None,
        shadow_share=entry.shadow,
        text=text,
    )


def read_table(data: Mapping[str, str], last: Table) -> Table:
    """The table that `data` asks for; a bad entry keeps the model's last good route and never touches another model."""
    routes: dict[str, Route] = {}
    errors: dict[str, str] = {}
    for model, text in sorted(data.items()):
        kept = last.routes.get(model)
        if kept is not None and kept.text == text:
            routes[model] = kept
            continue
        try:
            routes[model] = parse_route(model, text)
        except InvalidRouteError as error:
            errors[model] = str(error)
            if kept is not None:
                routes[model] = kept
    return Table(routes=routes, errors=errors)


def _revision(name: str, revision: _Revision) -> Revision:
    ports = revision.ports
    return Revision(
        name=name,
        host=str(ports.host),
        first_port=ports.first,
        ports=ports.count,
        window=ports.window,
        aliases=tuple(revision.aliases),
    )


def _match(match: _Match) -> Match:
    if match.header is not None:
        return Match(kind=MatchKind.HEADER, name=match.header, value=match.value)
    return Match(kind=MatchKind.COOKIE, name=match.cookie or "", value=match.value)


def _check_routing(entry: _Entry) -> None:
    for field, is_set in (("match", entry.match), ("sticky", entry.sticky), ("shadow", entry.shadow)):
        if is_set and (entry.candidate is None or entry.stable is None):
            raise InvalidRouteError(f"{field}: there is no candidate beside a stable revision")
    for index, match in enumerate(entry.match):
        if (match.header is None) == (match.cookie is None):
            raise InvalidRouteError(f"match.{index}: must have exactly one of header and cookie")
    headers = [(f"match.{index}.header", match.header) for index, match in enumerate(entry.match)]
    headers.append(("sticky.header", entry.sticky.header if entry.sticky is not None else None))
    for field, header in headers:
        if header is not None and header.startswith(OWN_PREFIX):
            raise InvalidRouteError(f"{field}: {header} is one of the gateway's own")


def _check_whole(entry: _Entry, raw: Mapping[str, Any]) -> None:
    for role, name in (("stable", entry.stable), ("candidate", entry.candidate)):
        if name is not None and name not in entry.revisions:
            raise InvalidRouteError(f"{role}: {name} is not among the revisions")
    if entry.candidate is None and entry.candidate_weight > 0:
        raise InvalidRouteError("candidateWeight: there is no candidate to take it")
    if entry.candidate is not None and entry.candidate == entry.stable:
        raise InvalidRouteError("candidate: is the stable revision")
    _check_routing(entry)
    for name, revision in entry.revisions.items():
        ports = revision.ports
        if ports.window > ports.count:
            raise InvalidRouteError(f"revisions.{name}.ports.window: {ports.window} is more than count, {ports.count}")
        if ports.first + ports.count > 65536:
            raise InvalidRouteError(f"revisions.{name}.ports: the range ends above 65535")
    expected = entry_version(raw)
    if entry.version != expected:
        raise InvalidRouteError(f"version: {entry.version} is not the version of this content, {expected}")
