"""What has to be done so that HAProxy has what is wanted. Pure."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from fairlead_gateway.haproxy import config
from fairlead_gateway.haproxy.observed import STATE_HEADER, Observed, Server
from fairlead_gateway.haproxy.wanted import NO_REVISION, READY_KEY, VERSION_FIELD, Slot, Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """HAProxy has what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """The topology differs: only another configuration can mend it."""

    running: str
    wanted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Commands for the runtime socket; each string is to be run as one line."""

    lines: tuple[str, ...]


Change = Nothing | Reload | Commands


def find_change(wanted: Wanted, observed: Observed) -> Change:
    """The next thing to do.

    First what the running configuration can take: a new topology of one model must not delay another's weights. The
    order of commands matters: a slot is looked at before a request can be sent to it.
    """
    running = {backend for backend, _ in observed.servers}
    names = {
        key: name
        for key, name in wanted.version_map.items()
        if config.backend_name(key.partition("/")[0], name) in running
    }
    lines = (
        *_server_commands(wanted.slots, observed.servers),
        *_map_commands(config.VERSION_MAP, names, observed.version_map),
        *(
            _map_commands(config.MATCH_MAP, wanted.match_map, observed.match_map)
            if observed.match_map is not None
            else ()
        ),
        *_map_commands(config.ROUTE_MAP, _routable(wanted, observed, running), _models(observed.route_map)),
    )
    if lines:
        return Commands(lines=lines)
    if observed.digest != wanted.digest:
        return Reload(running=observed.digest, wanted=wanted.digest)
    return Nothing()


def ready_commands(*, is_ready: bool, observed: Observed) -> tuple[str, ...]:
    """Say on the data port what the admin port's readiness says."""
    seen = {READY_KEY: observed.route_map[READY_KEY]} if READY_KEY in observed.route_map else {}
    return tuple(_map_commands(config.ROUTE_MAP, {READY_KEY: "1" if is_ready else "0"}, seen))


def live_versions(wanted: Wanted, observed: Observed) -> dict[str, str]:
    """The version of each model's route that HAProxy was read to have whole: its decision, its names, its places."""
    broken = {
        key[0] for key, slot in wanted.slots.items() if slot.is_enabled and not _is_looked_at(slot, observed, key)
    }
    names, seen_names = _by_model(wanted.version_map), _by_model(observed.version_map)
    has_names = wanted.digest.partition("-")[2] == observed.digest.partition("-")[2]
    unmatched = {_model_of(key) for key in wanted.match_map.keys() ^ (observed.match_map or {}).keys()}
    return {
        model: value.split(":")[VERSION_FIELD]
        for model, value in wanted.route_map.items()
        if observed.route_map.get(model) == value
        and names.get(model) == seen_names.get(model)
        and model not in unmatched
        and (has_names or model not in wanted.named)
        and not any(config.backend_name(model, name) in broken for name in set(names.get(model, {}).values()))
    }


def unchecked_slots(wanted: Wanted, observed: Observed) -> int:
    """How many slots that count have not had their first check."""
    return sum(
        1
        for key, slot in wanted.slots.items()
        if slot.is_enabled and not (key in observed.servers and observed.servers[key].is_checked)
    )


def state_file(wanted: Wanted, observed: Observed | None) -> str:
    """The servers' states that a new worker starts with.

    A server it has no line for would count as up before its first check, so each has one: the running worker's for what
    it knows (a replica that is up stays up), down for what is new.
    """
    known = observed.servers if observed else {}
    lines = (_state_line(number, key, slot, known.get(key)) for number, (key, slot) in _numbered(wanted.slots.items()))
    return STATE_HEADER + "".join(lines)


def _numbered(
    slots: Iterable[tuple[tuple[str, str], Slot]],
) -> Iterable[tuple[int, tuple[tuple[str, str], Slot]]]:
    backend, number = "", 0
    for key, slot in slots:
        number = number + 1 if key[0] == backend else 1
        backend = key[0]
        yield number, (key, slot)


def _state_line(number: int, key: tuple[str, str], slot: Slot, known: Server | None) -> str:
    is_same = known is not None and (known.host, known.port) == (slot.host, slot.port)
    if known is not None and is_same and known.is_enabled and (slot.is_enabled or known.is_up or known.is_draining):
        return known.line + "\n"
    admin = 0 if slot.is_enabled else 1
    return f"2 {key[0]} {number} {key[1]} {slot.host} 0 {admin} 1 1 0 1 0 0 6 0 0 0 - {slot.port} - 0 0 - - 0\n"


def _is_looked_at(slot: Slot, observed: Observed, key: tuple[str, str]) -> bool:
    server = observed.servers.get(key)
    return server is not None and server.is_enabled and (server.host, server.port) == (slot.host, slot.port)


def _routable(wanted: Wanted, observed: Observed, running: Set[str]) -> dict[str, str]:
    """The routes to set now: as wanted where the backends are there, else as they are."""
    found: dict[str, str] = {}
    for model, value in wanted.route_map.items():
        roles = (name for name in value.split(":")[:2] if name != NO_REVISION)
        if all(config.backend_name(model, name) in running for name in roles):
            found[model] = value
        elif model in observed.route_map:
            found[model] = observed.route_map[model]
    return found


def _server_commands(slots: Mapping[tuple[str, str], Slot], servers: Mapping[tuple[str, str], Server]) -> Iterable[str]:
    for key, slot in slots.items():
        server = servers.get(key)
        if server is None or server.is_enabled == slot.is_enabled:
            continue
        name = f"{key[0]}/{key[1]}"
        if slot.is_enabled:
            # One line: between the two commands no request may be routed, for `ready` alone counts as up.
            yield f"set server {name} state ready;set server {name} health down"
        elif not (server.is_up or server.is_draining):
            # A replica that lives beyond a window that shrank keeps its place until it is gone.
            yield f"set server {name} state maint"


def _map_commands(file: str, wanted: Mapping[str, str], observed: Mapping[str, str] | None) -> Iterable[str]:
    if observed is None:
        return  # another configuration is due, which has the map
    for key, value in wanted.items():
        if key not in observed:
            yield f"add map {file} {key} {value}"
        elif observed[key] != value:
            yield f"set map {file} {key} {value}"
    for key in observed:
        if key not in wanted:
            yield f"del map {file} {key}"


def _models(route_map: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in route_map.items() if key != READY_KEY}


def _model_of(match_key: str) -> str:
    return match_key.rpartition("/")[2]


def _by_model(version_map: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for key, name in version_map.items():
        found.setdefault(key.partition("/")[0], {})[key] = name
    return found
