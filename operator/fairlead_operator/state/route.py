"""One model's route, as it is written for the gateways.

Source: docs/contracts.md, "Operator → gateway: routes".
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from fairlead_operator.api.scaling import HOLD_MAX_S

FULL_WEIGHT = 10_000
"""All traffic, in hundredths of a percent."""
PARSED_MAX = 256
"""So many routes that were read are kept at hand as values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRevision:
    """The Ray cluster whose nodes know a revision's replicas, and the names it answers to."""

    cluster: str
    aliases: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        return {"cluster": self.cluster, "aliases": list(self.aliases)}


class MatchKind(StrEnum):
    HEADER = "header"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Requests with exactly this value go to the candidate, whatever its weight."""

    kind: MatchKind
    name: str
    value: str

    def to_json(self) -> dict[str, object]:
        return {self.kind.value: self.name, "value": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What decides besides the weight while a candidate is compared.

    ``sticky_header`` takes the place of the counter. ``shadow`` is the share of the stable's requests that is marked,
    in hundredths of a percent.
    """

    matches: tuple[Match, ...] = ()
    sticky_header: str | None = None
    shadow: int = 0

    def to_json(self) -> dict[str, object]:
        """Absent where unset: an entry without them is the one of a version that knew none of them."""
        body: dict[str, object] = {}
        if self.matches:
            body["match"] = [match.to_json() for match in self.matches]
        if self.sticky_header is not None:
            body["sticky"] = {"header": self.sticky_header}
        if self.shadow:
            body["shadow"] = self.shadow
        return body


BY_WEIGHT = Routing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Requests for the stable revision that find no replica wait for one.

    At each gateway ``requests`` wait at a time, each for ``seconds``; ``parallel`` are sent at a time once a replica is
    ready. After ``idle_s`` without a request the gateway reports the model as idle.
    """

    requests: int
    seconds: int
    parallel: int
    idle_s: int

    def to_json(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "seconds": self.seconds,
            "parallel": self.parallel,
            "idleSeconds": self.idle_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteEntry:
    """A revision in ``revisions`` that is neither stable nor candidate drains."""

    stable: str | None
    candidate: str | None
    candidate_weight: int
    revisions: Mapping[str, RouteRevision]
    max_request_bytes: int
    request_timeout_s: int
    routing: Routing = BY_WEIGHT
    hold: Hold | None = None

    def weight_of(self, revision: str) -> int:
        """The share of unpinned requests that goes to a revision, in hundredths of a percent."""
        if revision == self.candidate:
            return self.candidate_weight
        return FULL_WEIGHT - self.candidate_weight if revision == self.stable else 0

    def _body(self) -> dict[str, object]:
        """What is not set is absent: the API server drops nulls, and the version has to name what it keeps.

        So are no revisions: where server-side apply takes the last key of a map away, the API server makes it null.
        """
        revisions = {revision: route.to_json() for revision, route in sorted(self.revisions.items())}
        body: dict[str, object] = {
            "candidateWeight": self.candidate_weight,
            **({"revisions": revisions} if revisions else {}),
            "maxRequestBytes": self.max_request_bytes,
            "requestTimeoutSeconds": self.request_timeout_s,
            **self.routing.to_json(),
            **({"hold": self.hold.to_json()} if self.hold is not None else {}),
        }
        places = {"stable": self.stable, "candidate": self.candidate}
        return {**{place: revision for place, revision in places.items() if revision is not None}, **body}

    @property
    def version(self) -> str:
        """Names the content: what a gateway reports once it has applied it."""
        return version_of(self._body())

    def to_spec(self) -> dict[str, object]:
        """The ``spec`` of the model's ModelRoute."""
        body = self._body()
        return {**body, "version": version_of(body)}

    def to_json(self) -> str:
        """The same as text; the same entry gives the same bytes."""
        return text_of(self.to_spec())


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredRoute:
    """Nothing is routed for the model any more; once every gateway has confirmed it, the object may be deleted."""

    def to_spec(self) -> dict[str, object]:
        body: dict[str, object] = {"retired": True}
        return {**body, "version": version_of(body)}

    def to_json(self) -> str:
        return text_of(self.to_spec())


def version_of(body: Mapping[str, object]) -> str:
    """The first 16 hex digits of SHA-256 over the spec without ``version``, sorted keys, no spaces."""
    text = text_of({key: value for key, value in body.items() if key != "version"})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def text_of(spec: Mapping[str, object]) -> str:
    """The same content gives the same text."""
    return json.dumps(spec, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteText:
    """The ``spec`` of a ModelRoute as it was read: compared as text, never trusted as an entry."""

    text: str

    def holds(self, entry: RouteEntry) -> bool:
        """Whether exactly this entry is written."""
        return self.text == entry.to_json()

    @property
    def is_retired(self) -> bool:
        return self._body().get("retired") is True

    def weights(self) -> Mapping[str, int]:
        """The shares it gives, in hundredths of a percent; none where it cannot be read."""
        body = self._body()
        weight = body.get("candidateWeight")
        share = weight if isinstance(weight, int) and body.get("candidate") is not None else 0
        shares = ((body.get("stable"), FULL_WEIGHT - share), (body.get("candidate"), share))
        return {revision: part for revision, part in shares if isinstance(revision, str) and part > 0}

    @property
    def version(self) -> str | None:
        """What a gateway reports once it has applied it; None where it can't be read."""
        version = self._body().get("version")
        return version if isinstance(version, str) else None

    @property
    def candidate(self) -> str | None:
        """The revision that is compared with the stable one."""
        candidate = self._body().get("candidate")
        return candidate if isinstance(candidate, str) else None

    @property
    def stable(self) -> str | None:
        """The revision that also answers for a candidate without a ready replica."""
        stable = self._body().get("stable")
        return stable if isinstance(stable, str) else None

    @property
    def revisions(self) -> tuple[str, ...]:
        """Those that it names, with or without a share."""
        named = self._body().get("revisions")
        return tuple(named) if isinstance(named, dict) else ()

    @property
    def hold(self) -> Hold | None:
        """How requests that find no replica wait; None where they don't, and where no ModelDeployment can say so."""
        found = self._body().get("hold")
        if not isinstance(found, dict):
            return None
        values = [found.get(name) for name in ("requests", "seconds", "parallel", "idleSeconds")]
        numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        if len(numbers) < len(values) or min(numbers) < 1 or numbers[1] > HOLD_MAX_S:
            return None
        requests, seconds, parallel, idle_s = numbers
        return Hold(requests=requests, seconds=seconds, parallel=parallel, idle_s=idle_s)

    def is_matched(self, candidate: str) -> bool:
        """Whether some requests go to this candidate by their headers or cookies."""
        body = self._body()
        return bool(body.get("match")) and body.get("candidate") == candidate

    def _body(self) -> Mapping[str, object]:
        return _parsed(self.text)


@functools.lru_cache(maxsize=PARSED_MAX)
def _parsed(text: str) -> Mapping[str, object]:
    """A pass asks several times what its route says."""
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionLive:
    """What one gateway sees of one revision: replicas up, draining, and requests in flight."""

    up: int
    draining: int
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldLive:
    """What one gateway holds of a model: requests without an answer; ``is_idle`` after its time without any request."""

    waiting: int
    is_idle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLive:
    """What one gateway was read to have for one model; ``version`` is None while a change is not yet whole there.

    ``hold`` is None where the gateway holds no request of the model.
    """

    version: str | None
    revisions: Mapping[str, RevisionLive]
    is_retired: bool = False
    hold: HoldLive | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayView:
    """One gateway's answer to ``GET /v1/routes``.

    ``errors`` says by model why an entry was refused, ``failure`` why the table could not be applied. ``connections``
    counts the clients that are connected, None where the gateway doesn't say. ``replicas`` counts those that the Ray
    nodes list, whether routed or not.
    """

    id: str
    routes: Mapping[str, RouteLive]
    errors: Mapping[str, str] = field(default_factory=dict)
    failure: str | None = None
    connections: int | None = None
    replicas: int = 0
