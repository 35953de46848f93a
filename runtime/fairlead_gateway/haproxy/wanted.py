"""What HAProxy should have for a table of routes: maps and the configuration. Pure."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from fairlead_gateway import routes
from fairlead_gateway.haproxy import config, pool
from fairlead_gateway.haproxy.config import Shape

READY_KEY = "/ready"
"""In the route map no model can have this name; it says whether the gateway calls itself ready."""

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
    the place of each revision.
    """

    config: str
    digest: str
    shape: Shape
    route_map: Mapping[str, str]
    version_map: Mapping[str, str]
    match_map: Mapping[str, str]
    backend_map: Mapping[str, str]
    named: Set[str]


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
        )
    )


def _matches(route: routes.Route) -> Iterable[str]:
    for match in route.matches:
        yield match.value.encode().hex().upper() + config.match_suffix(match.kind, match.name, route.model)


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
