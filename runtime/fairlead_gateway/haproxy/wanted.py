"""What HAProxy should have for a table of routes: maps and the configuration. Pure."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from fairlead_gateway import routes, settings
from fairlead_gateway.haproxy import access, config, pool, tokens
from fairlead_gateway.haproxy.config import Shape

READY_KEY = "/ready"
"""In the route map no model can have this name; its value is the gateway's readiness."""


class Readiness(StrEnum):
    """What the gateway says of itself on the data port, as the value in the route map."""

    UNCHECKED = "0"
    READY = "1"
    LEAVING = "leaving"
    """It serves on for the stop's delay, and closes each connection with the answer to its next request."""
    ENDING = "ending"
    """HAProxy stops: there is no other worker to hand a request to."""


NO_REVISION = "none"
NO_HEADER = "-"
NO_NAMES = config.Names()
VERSION_FIELD = 5
"""The place of the route's version in the map value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The state to bring HAProxy to, but for the servers.

    `digest` is the configuration's description. Weights, limits and the values of headers and cookies are no part of
    it, so they change without a reload. `named` are the models whose route needs the names that are. `backend_map` has
    the place of each revision, `key_map` the client of each API key's digest, `token_map` the keys that sign tokens.
    The file of that map is `token_file`, None where clients send no tokens.
    """

    config: str
    digest: str
    shape: Shape
    route_map: Mapping[str, str]
    version_map: Mapping[str, str]
    match_map: Mapping[str, str]
    backend_map: Mapping[str, str]
    named: Set[str]
    key_map: Mapping[str, str] = field(default_factory=dict)
    token_map: Mapping[str, str] = field(default_factory=dict)
    token_file: str | None = None


def build_options(settings_: settings.Settings, version: str) -> config.Options:
    """What a gateway's flags say of the configuration."""
    return config.Options(
        version=version,
        max_connections=settings_.max_connections,
        threads=settings_.threads,
        allowed_origins=settings_.allowed_origins,
        is_tls=settings_.tls is not None,
        has_api_keys=settings_.api_keys is not None,
        tokens=settings_.tokens,
        has_access_log=settings_.has_access_log,
        traces_percent=None if settings_.traces is None else settings_.traces.sample_percent,
        rate_limit=settings_.rate_limit,
        internal=None if settings_.internal_port is None else (settings_.listen.host, settings_.internal_port),
    )


def build_wanted(
    table: Iterable[routes.Route],
    options: config.Options,
    places: pool.Pool,
    *,
    check_ms: int,
    kept: config.Names = NO_NAMES,
) -> Wanted:
    """The maps and the configuration for these routes and places; `kept` are header and cookie names that may stay."""
    ordered = sorted(table, key=lambda route: route.model)
    shape = Shape(pool=places.size, check_ms=check_ms)
    text, digest = config.build_config(ordered, config.find_names(ordered) | kept, options, shape)
    return Wanted(
        config=text,
        digest=digest,
        shape=shape,
        route_map={route.model: route_value(route) for route in ordered},
        version_map={key: name for route in ordered for key, name in _versions(route).items()},
        match_map={key: "1" for route in ordered for key in _matches(route)},
        backend_map={
            f"{route.model}/{revision.name}": config.place_value(places.places[route.model, revision.name])
            for route in ordered
            for revision in route.revisions
        },
        named=frozenset(route.model for route in ordered if route.matches or route.sticky_header is not None),
        token_file=None if options.tokens is None else tokens.map_file(options.tokens),
    )


def route_value(route: routes.Route) -> str:
    """One model's map value: all that a request of it is decided by, so that one command changes it at once."""
    return ":".join(
        (
            route.stable or NO_REVISION,
            route.candidate or NO_REVISION,
            str(route.candidate_weight),
            str(route.max_request_bytes),
            str(route.request_timeout_ms),
            route.version,
            route.sticky_header or NO_HEADER,
            "1" if route.matches else "0",
            str(route.shadow_share),
            *_hold_fields(route.hold),
        )
    )


def _hold_fields(hold: routes.Hold | None) -> tuple[str, ...]:
    """Milliseconds, requests, requests sent at a time; 0 where nothing is held."""
    if hold is None:
        return ("0", "0", "0")
    return (str(hold.seconds * 1000), str(hold.requests), str(hold.parallel))


def _matches(route: routes.Route) -> Iterable[str]:
    for match in route.matches:
        yield match.value.encode().hex().upper() + config.match_suffix(match.kind, match.name, route.model)


def map_files(wanted: Wanted, readiness: Readiness) -> dict[str, str]:
    """The files of the maps by their names, with which a worker starts."""
    maps = {
        config.ROUTE_MAP: {READY_KEY: readiness.value, **wanted.route_map},
        config.VERSION_MAP: wanted.version_map,
        config.MATCH_MAP: wanted.match_map,
        config.BACKEND_MAP: wanted.backend_map,
        access.KEY_MAP: wanted.key_map,
    }
    if wanted.token_file is not None:
        maps[wanted.token_file] = wanted.token_map
    return {name: map_text(entries) for name, entries in maps.items()}


def map_text(entries: Mapping[str, str]) -> str:
    """The map as a file."""
    return "".join(f"{key} {value}\n" for key, value in entries.items())


def _versions(route: routes.Route) -> dict[str, str]:
    """Each name of each revision. Where two revisions share an alias, the one that serves has it."""
    rank = {route.stable: 2, route.candidate: 1}
    found: dict[str, str] = {}
    for revision in sorted(route.revisions, key=lambda one: (rank.get(one.name, 0), one.name)):
        for alias in revision.aliases:
            found[f"{route.model}/versions/{alias}"] = revision.name
            found[f"{route.model}/labels/{alias}"] = revision.name
    for revision in route.revisions:
        found[f"{route.model}/versions/{revision.name}"] = revision.name
        found[f"{route.model}/labels/{revision.name}"] = revision.name
    for role, name in (("stable", route.stable), ("candidate", route.candidate)):
        if name is not None:
            found[f"{route.model}/labels/{role}"] = name
    return dict(sorted(found.items()))
