"""What the admin port says of routes, replicas and nodes, and where replicas are to be asked what they counted. Pure.

Source: docs/contracts.md, "Gateway → operator: the admin port".
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from fairlead_gateway import replica_scrape, routes
from fairlead_gateway.haproxy import changes, config, router
from fairlead_gateway.haproxy.observed import Server
from fairlead_gateway.nodes import knowledge
from fairlead_gateway.server_calls import repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What the agent knows of models' requests.

    `counted` are the models whose replicas' counters were read, `idle` those that may have no replica and had no
    request for long enough.
    """

    counted: Set[str]
    idle: Set[str]


def routes_body(
    gateway: str,
    table: routes.Table,
    state: router.State | None,
    *,
    activity: Activity,
    nodes: Sequence[knowledge.View],
    failure: str | None,
) -> dict[str, Any]:
    """The body of `/v1/routes`; without a state nothing is known to be live.

    Of a model with something to compare, the route is reported as live once its replicas' counters were read: what
    happens after that is in its measurements.
    """
    found: dict[str, Any] = {}
    if state is not None:
        servers = _by_place(state)
        uncounted = compared(table) - activity.counted
        found = {
            model: {
                **_route_body(route, None if model in uncounted else state.live.get(model), state, servers),
                **_hold_body(route, state, is_idle=model in activity.idle),
            }
            for model, route in table.routes.items()
        }
        for model, mark in table.retired.items():
            is_live = state.is_read_whole and changes.has_left(model, state.observed)
            found[model] = {"version": mark.version if is_live else None, "retired": True, "revisions": {}}
    return {
        "gateway": gateway,
        "routes": found,
        "errors": dict(table.errors),
        "failure": failure,
        "nodes": [view.body() for view in nodes],
    }


class RepositoryIndex:
    """The index of the repository. While table and state are the same, so is the index, and no answer is made twice."""

    def __init__(self) -> None:
        self._last: tuple[routes.Table, router.State, repository.Index] | None = None

    def find(self, table: routes.Table, state: router.State) -> repository.Index:
        """The index of this table, as HAProxy was read to be."""
        if self._last is None or self._last[0] is not table or self._last[1] is not state:
            self._last = (table, state, repository.Index(_list_versions(table, state)))
        return self._last[2]


def _list_versions(table: routes.Table, state: router.State) -> list[repository.Entry]:
    """Each revision of each model, under the first name that it answers to, which is its number."""
    servers = _by_place(state)
    return [
        _index_entry(route, revision, servers.get(state.places.get((route.model, revision.name), 0), {}))
        for route in table.routes.values()
        for revision in route.revisions
    ]


def busy(table: routes.Table, state: router.State) -> frozenset[str]:
    """The models with a request in flight or held, in any worker."""
    sessions = {model for (model, _), place in state.places.items() if state.sessions.get(place)}
    return frozenset(model for model in table.routes if model in sessions or model in state.observed.held)


def compared(table: routes.Table) -> frozenset[str]:
    """The models with something to compare: more than one revision."""
    return frozenset(route.model for route in table.routes.values() if len(route.revisions) > 1)


def stable_up(table: routes.Table, state: router.State) -> dict[str, int]:
    """How many replicas of its stable revision take requests, for each model that has one."""
    servers = _by_place(state)
    return {
        model: sum(server.is_up for server in servers.get(state.places.get((model, route.stable), 0), {}).values())
        for model, route in table.routes.items()
        if route.stable is not None
    }


def places(table: routes.Table, state: router.State) -> dict[str, list[replica_scrape.Place]]:
    """Where the replicas are of each model with something to compare.

    A replica that HAProxy has not checked yet is one of them: the counters are read before it gets requests.
    """
    servers = _by_place(state)
    return {
        model: [
            replica_scrape.Place(model=model, revision=revision.name, replica=name, host=server.host, port=server.port)
            for revision in table.routes[model].revisions
            for name, server in servers.get(state.places.get((model, revision.name), 0), {}).items()
        ]
        for model in compared(table)
    }


def _index_entry(route: routes.Route, revision: routes.Revision, servers: Mapping[str, Server]) -> repository.Entry:
    is_up = any(server.is_up for server in servers.values())
    starts = route.hold is not None and revision.name == route.stable
    missing = "no replica is running; a request starts one" if starts else "no replica is ready"
    return repository.Entry(
        name=route.model,
        version=revision.aliases[0] if revision.aliases else revision.name,
        state=repository.READY if is_up else repository.UNAVAILABLE,
        reason="" if is_up else missing,
    )


def _by_place(state: router.State) -> dict[int, dict[str, Server]]:
    """The servers for predictions by place and name."""
    found: dict[int, dict[str, Server]] = {}
    for (backend, name), server in state.observed.servers.items():
        place = config.parse_place(backend)
        if place is not None and backend == config.backend_name(place):
            found.setdefault(place, {})[name] = server
    return found


def _route_body(
    route: routes.Route, live: str | None, state: router.State, by_place: dict[int, dict[str, Server]]
) -> dict[str, Any]:
    revisions: dict[str, dict[str, int]] = {}
    for revision in route.revisions:
        place = state.places.get((route.model, revision.name), 0)
        servers = by_place.get(place, {}).values()
        revisions[revision.name] = {
            "up": sum(server.is_up for server in servers),
            "draining": sum(server.is_draining for server in servers),
            "sessions": state.sessions.get(place, 0),
        }
    return {"version": live, "revisions": revisions}


def _hold_body(route: routes.Route, state: router.State, *, is_idle: bool) -> dict[str, Any]:
    """What is held, for a model that may have no replica; absent for others."""
    if route.hold is None:
        return {}
    waiting = state.observed.held.get(route.model, 0)
    return {"hold": {"waiting": waiting, "idle": is_idle and state.is_read_whole}}
