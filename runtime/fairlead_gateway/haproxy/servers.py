"""Which servers each place should have, and the commands that bring HAProxy there. Pure.

Source of each command's order: docs/decisions/0020-replicas-are-dynamic-servers.md
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

from fairlead_gateway import routes
from fairlead_gateway.haproxy import config, pool
from fairlead_gateway.haproxy.observed import Observed, Server
from fairlead_gateway.nodes import directory, knowledge


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a replica is, and whether it drains."""

    host: str
    port: int
    is_draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The replicas of each place by name; `silent` has the hosts of each place's cluster that nothing is known of.

    While the nodes are not listed, nothing is known of any host. `holding` are the backends whose requests wait at the
    gateway while no server is up.
    """

    places: Mapping[int, Mapping[str, Target]]
    silent: Mapping[int, frozenset[str]]
    holding: Set[str] = frozenset()
    is_listed: bool = True

    def is_kept(self, place: int, server: Server, leads: Set[int]) -> bool:
        """Whether a server that no node lists is kept.

        It does while its node has not been heard yet, and in a place that the table gave up while requests are still
        led there.
        """
        if place in self.silent:
            return not self.is_listed or server.host in self.silent[place]
        return place in leads

    @property
    def count(self) -> int:
        return sum(len(names) for names in self.places.values())


NO_TARGETS = Targets(places={}, silent={})


def find_targets(table: Iterable[routes.Route], places: pool.Pool, known: knowledge.Knowledge) -> Targets:
    """The replicas of the table's revisions, each at the cluster that its revision runs on."""
    listed = tuple(table)
    clusters = {(route.model, each.name): each.cluster for route in listed for each in route.revisions}
    holding = {(route.model, route.stable) for route in listed if route.hold is not None}
    silent = known.silent()
    found: dict[int, dict[str, Target]] = {}
    for each in known.replicas():
        key = (each.replica.model, each.replica.revision)
        if clusters.get(key) != each.node.cluster or key not in places.places:
            continue
        found.setdefault(places.places[key], {})[each.replica.name] = Target(
            host=each.node.host,
            port=each.replica.port,
            is_draining=each.replica.state is directory.State.DRAINING,
        )
    return Targets(
        places=found,
        silent={
            places.places[key]: silent.get(cluster, frozenset())
            for key, cluster in clusters.items()
            if key in places.places
        },
        holding=frozenset(config.backend_name(place) for key, place in places.places.items() if key in holding),
        is_listed=known.is_listed,
    )


def find_commands(targets: Targets, observed: Observed, shape: config.Shape) -> tuple[str, ...]:
    """What is to be done about servers in the running configuration; each string is one line, run on its own."""
    return (*_missing(targets, observed.servers, shape), *_differing(targets, observed))


def count_unchecked(targets: Targets, observed: Observed) -> int:
    """How many replicas that take requests have not had their first check."""
    return sum(
        1
        for place, names in targets.places.items()
        for name, target in names.items()
        if not target.is_draining
        and not ((server := observed.servers.get((config.backend_name(place), name))) and server.is_checked)
    )


def is_drain_due(targets: Targets, observed: Observed) -> bool:
    """Whether a replica drains that still takes requests until another one of its revision does."""
    return next(_last_ones(targets, observed), None) is not None


def _missing(targets: Targets, observed: Mapping[tuple[str, str], Server], shape: config.Shape) -> Iterator[str]:
    for place, names in targets.places.items():
        if place > shape.pool:
            continue  # a larger pool is due
        for backend, check_ms in (
            (config.backend_name(place), shape.check_ms),
            (config.feedback_name(place), config.FEEDBACK_INTERVAL_MS),
        ):
            for name, target in names.items():
                # A replica that drains before it was ever added gets nothing.
                if (backend, name) not in observed and not target.is_draining:
                    yield _add(f"{backend}/{name}", name, target, check_ms)


def _add(server: str, name: str, target: Target, check_ms: int) -> str:
    """One line: a server that is only enabled counts as up before its first check."""
    address = config.address_text(target.host, target.port)
    return (
        f"add server {server} {address} id {config.server_id(name)} {config.check_text(check_ms)};"
        f"enable server {server};set server {server} health down;enable health {server}"
    )


def _differing(targets: Targets, observed: Observed) -> Iterator[str]:
    leads = {int(value) for value in (observed.backend_map or {}).values()}
    last_ones = frozenset(_last_ones(targets, observed))
    for (backend, name), server in observed.servers.items():
        place = config.parse_place(backend)
        if place is None:
            continue
        target = targets.places.get(place, {}).get(name)
        path = f"{backend}/{name}"
        if target is None and targets.is_kept(place, server, leads):
            continue
        if target is None or (target.host, target.port) != (server.host, server.port):
            # Refused while a connection is left there; it is asked again at each pass.
            yield f"set server {path} state maint;del server {path}" if server.is_enabled else f"del server {path}"
        elif target.is_draining:
            if server.is_enabled and not server.is_drained and (backend, name) not in last_ones:
                yield f"set server {path} state drain"
        elif not server.is_enabled:
            # A listing that had missed it took it out.
            yield f"set server {path} state ready;set server {path} health down"


def _last_ones(targets: Targets, observed: Observed) -> Iterator[tuple[str, str]]:
    """The draining servers that are up in a backend without one that is up and doesn't drain.

    Their replicas listen for some seconds more, so they answer until their successor has had its first check. Where
    requests are held none is spared: a quiet one may close its port before a check says that it drains, and a request
    that meets the closed port is refused.
    """
    draining: list[tuple[str, str]] = []
    succeeded: set[str] = set()
    for (backend, name), server in observed.servers.items():
        place = config.parse_place(backend)
        target = targets.places.get(place, {}).get(name) if place is not None else None
        if target is None or not server.is_up or backend in targets.holding:
            continue
        if target.is_draining:
            draining.append((backend, name))
        else:
            succeeded.add(backend)
    return (each for each in draining if each[0] not in succeeded)
