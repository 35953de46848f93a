"""What the admin port says of routes, replicas and nodes, and where replicas are to be asked what they counted. Pure.

Source: docs/contracts.md, "Gateway → operator: the admin port".
"""

from collections.abc import Iterator, Sequence
from typing import Any

from fairlead_gateway import replica_scrape, routes
from fairlead_gateway.haproxy import changes, config, router
from fairlead_gateway.haproxy.observed import Server
from fairlead_gateway.nodes import knowledge


def routes_body(
    gateway: str,
    table: routes.Table,
    state: router.State | None,
    *,
    nodes: Sequence[knowledge.View],
    failure: str | None,
) -> dict[str, Any]:
    """The body of `/v1/routes`; without a state nothing is known to be live."""
    found: dict[str, Any] = {}
    if state is not None:
        servers = _by_place(state)
        found = {model: _route_body(route, state, servers) for model, route in table.routes.items()}
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


def places(table: routes.Table, state: router.State) -> Iterator[replica_scrape.Place]:
    """Where replicas are of models with something to compare: more than one revision."""
    servers = _by_place(state)
    for route in table.routes.values():
        for revision in route.revisions if len(route.revisions) > 1 else ():
            for name, server in servers.get(state.places.get((route.model, revision.name), 0), {}).items():
                if server.is_up or server.is_draining:
                    yield replica_scrape.Place(
                        model=route.model, revision=revision.name, replica=name, host=server.host, port=server.port
                    )


def _by_place(state: router.State) -> dict[int, dict[str, Server]]:
    """The servers for predictions by place and name."""
    found: dict[int, dict[str, Server]] = {}
    for (backend, name), server in state.observed.servers.items():
        place = config.parse_place(backend)
        if place is not None and backend == config.backend_name(place):
            found.setdefault(place, {})[name] = server
    return found


def _route_body(route: routes.Route, state: router.State, by_place: dict[int, dict[str, Server]]) -> dict[str, Any]:
    revisions: dict[str, dict[str, int]] = {}
    for revision in route.revisions:
        place = state.places.get((route.model, revision.name), 0)
        servers = by_place.get(place, {}).values()
        revisions[revision.name] = {
            "up": sum(server.is_up for server in servers),
            "draining": sum(server.is_draining for server in servers),
            "sessions": state.sessions.get(place, 0),
        }
    return {"version": state.live.get(route.model), "revisions": revisions}
