"""Routes as the operator writes them: read, checked, and kept when one is bad or missing.

Source: docs/contracts.md, "Operator → gateway: routes".
"""

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pydantic

WEIGHT_SCALE = 10_000
"""A weight is in hundredths of a percent."""

_MODEL_NAME = re.compile(r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$")
RevisionName = Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{10}$")]
Alias = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
HeaderName = Annotated[
    str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$", to_lower=True)
]
ClusterName = Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
CookieName = Annotated[str, pydantic.StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$")]
MatchValue = Annotated[str, pydantic.StringConstraints(pattern=r"^[!#-+\--:<-\[\]-~]{1,128}$")]
"""What a cookie may hold. Source: RFC 6265, section 4.1.1, cookie-octet"""

MATCHES_MAX = 8
OWN_PREFIX = "x-fairlead-"
"""Headers that mean something to the gateway already."""

_TEXT_BYTES_MAX = 256 * 1024
_REVISIONS_MAX = 32
_ALIASES_MAX = 32


class InvalidRouteError(ValueError):
    """A route that can't be applied; the text says what is wrong with which field."""


class _Revision(pydantic.BaseModel):
    cluster: ClusterName
    aliases: Annotated[list[Alias], pydantic.Field(max_length=_ALIASES_MAX)] = []


class _Match(pydantic.BaseModel):
    header: HeaderName | None = None
    cookie: CookieName | None = None
    value: MatchValue


class _Sticky(pydantic.BaseModel):
    header: HeaderName


class _Hold(pydantic.BaseModel):
    requests: int = pydantic.Field(ge=1, le=1_000_000)
    seconds: int = pydantic.Field(ge=1, le=3600)
    parallel: int = pydantic.Field(ge=1, le=1_000_000)
    idle_seconds: int = pydantic.Field(alias="idleSeconds", ge=1, le=86_400)


class _Retired(pydantic.BaseModel):
    """What every spec has; of a retired route the rest means nothing."""

    version: Annotated[str, pydantic.StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    retired: bool = False


class _Spec(_Retired):
    stable: RevisionName | None = None
    candidate: RevisionName | None = None
    candidate_weight: int = pydantic.Field(alias="candidateWeight", default=0, ge=0, le=WEIGHT_SCALE)
    revisions: Annotated[dict[RevisionName, _Revision], pydantic.Field(max_length=_REVISIONS_MAX)] = {}
    max_request_bytes: int = pydantic.Field(alias="maxRequestBytes", ge=1, le=1 << 40)
    request_timeout_s: float = pydantic.Field(alias="requestTimeoutSeconds", gt=0, le=86_400)
    match: Annotated[list[_Match], pydantic.Field(max_length=MATCHES_MAX)] = []
    sticky: _Sticky | None = None
    shadow: int = pydantic.Field(default=0, ge=0, le=WEIGHT_SCALE)
    hold: _Hold | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """The cluster that the replicas of one revision run on, and the names it answers to."""

    name: str
    cluster: str
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
class Hold:
    """The model may have no replica: requests for its stable revision wait for one.

    At most `requests` wait at a time, each for at most `seconds`. Once a replica is ready, at most `parallel` of them
    are sent at a time. The model counts as idle after `idle_s` without a request.
    """

    requests: int
    seconds: int
    parallel: int
    idle_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One model's route. `text` is its spec as it was read.

    With `sticky_header` a hash of that header's value decides in place of the counter; `shadow_share` of the stable's
    requests is marked, in hundredths of a percent. Without `hold` a request that finds no replica is refused.
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
    hold: Hold | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """The mark that a model has no route any more; it is kept until the object is gone, to be confirmed."""

    version: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The routes to apply, the marks of those that ended, and for each spec that was refused the reason.

    The last good route of a refused one is kept in `routes`.
    """

    routes: Mapping[str, Route]
    retired: Mapping[str, Retired]
    errors: Mapping[str, str]

    def texts(self) -> dict[str, str]:
        """What to keep for the next start: `read_table` makes the same table of it."""
        routes = {model: route.text for model, route in self.routes.items()}
        return routes | {model: mark.text for model, mark in self.retired.items()}


EMPTY_TABLE = Table(routes={}, retired={}, errors={})


def spec_version(spec: Mapping[str, Any]) -> str:
    """The version that a spec must carry: what two specs with the same content share. The API server drops nulls."""
    content = {key: value for key, value in spec.items() if key != "version"}
    text = json.dumps(_without_nulls(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def parse_route(model: str, text: str) -> Route | Retired:
    """Read one spec, as JSON.

    Raises:
        InvalidRouteError: when it can't be applied as it stands.
    """
    if not _MODEL_NAME.match(model):
        raise InvalidRouteError(f"{model[:64]!r} is not a model name")
    if len(text) > _TEXT_BYTES_MAX:
        raise InvalidRouteError(f"it has more than {_TEXT_BYTES_MAX} characters")
    try:
        raw = json.loads(text)
        mark = _Retired.model_validate(raw)
        spec = None if mark.retired else _Spec.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidRouteError(f"{'.'.join(str(part)[:64] for part in first['loc'])}: {first['msg'][:200]}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRouteError(f"not JSON: {error}") from error
    expected = spec_version(raw)
    if mark.version != expected:
        raise InvalidRouteError(f"version: {mark.version} is not the version of this content, {expected}")
    if spec is None:
        return Retired(version=mark.version, text=text)
    _check_whole(spec)
    return Route(
        model=model,
        version=spec.version,
        stable=spec.stable,
        candidate=spec.candidate,
        candidate_weight=spec.candidate_weight,
        revisions=tuple(
            Revision(name=name, cluster=found.cluster, aliases=tuple(found.aliases))
            for name, found in sorted(spec.revisions.items())
        ),
        max_request_bytes=spec.max_request_bytes,
        request_timeout_ms=max(1, round(spec.request_timeout_s * 1000)),
        matches=tuple(_match(match) for match in spec.match),
        sticky_header=spec.sticky.header if spec.sticky is not None else None,
        shadow_share=spec.shadow,
        hold=_hold(spec.hold) if spec.hold is not None else None,
        text=text,
    )


def read_table(data: Mapping[str, str], last: Table) -> Table:
    """The table after the specs in `data` were read.

    A bad spec keeps the model's last good route and never touches another model. A route whose spec is missing is kept
    until it is written again, because it was not marked as retired. A mark without its object is forgotten.
    """
    routes: dict[str, Route] = {model: route for model, route in last.routes.items() if model not in data}
    retired: dict[str, Retired] = {}
    errors: dict[str, str] = {}
    for model, text in sorted(data.items()):
        kept = last.routes.get(model) or last.retired.get(model)
        found: Route | Retired | None
        try:
            found = kept if kept is not None and kept.text == text else parse_route(model, text)
        except InvalidRouteError as error:
            errors[model] = str(error)
            found = kept
        match found:
            case Route():
                routes[model] = found
            case Retired():
                retired[model] = found
            case None:
                pass
    return Table(routes=dict(sorted(routes.items())), retired=retired, errors=errors)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


def _match(match: _Match) -> Match:
    if match.header is not None:
        return Match(kind=MatchKind.HEADER, name=match.header, value=match.value)
    return Match(kind=MatchKind.COOKIE, name=match.cookie or "", value=match.value)


def _hold(hold: _Hold) -> Hold:
    return Hold(requests=hold.requests, seconds=hold.seconds, parallel=hold.parallel, idle_s=hold.idle_seconds)


def _check_routing(spec: _Spec) -> None:
    for field, is_set in (("match", spec.match), ("sticky", spec.sticky), ("shadow", spec.shadow)):
        if is_set and (spec.candidate is None or spec.stable is None):
            raise InvalidRouteError(f"{field}: needs a stable revision and a candidate")
    for index, match in enumerate(spec.match):
        if (match.header is None) == (match.cookie is None):
            raise InvalidRouteError(f"match.{index}: set exactly one of header and cookie")
    headers = [(f"match.{index}.header", match.header) for index, match in enumerate(spec.match)]
    headers.append(("sticky.header", spec.sticky.header if spec.sticky is not None else None))
    for field, header in headers:
        if header is not None and header.startswith(OWN_PREFIX):
            raise InvalidRouteError(f"{field}: {header} is reserved for the gateway")


def _check_whole(spec: _Spec) -> None:
    for role, name in (("stable", spec.stable), ("candidate", spec.candidate)):
        if name is not None and name not in spec.revisions:
            raise InvalidRouteError(f"{role}: {name} is not listed in revisions")
    if spec.candidate is None and spec.candidate_weight > 0:
        raise InvalidRouteError("candidateWeight: must be absent or 0 without a candidate")
    if spec.candidate is not None and spec.candidate == spec.stable:
        raise InvalidRouteError("candidate: must differ from stable")
    _check_routing(spec)
