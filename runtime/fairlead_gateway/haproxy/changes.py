"""What has to be done about maps and configuration so that HAProxy has what is wanted. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fairlead_gateway.haproxy import access, config
from fairlead_gateway.haproxy.observed import STATE_HEADER, Observed
from fairlead_gateway.haproxy.wanted import NO_REVISION, READY_KEY, VERSION_FIELD, Readiness, Wanted


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
    """The next thing to do about maps and configuration.

    First what the running configuration can take: a larger pool for one model must not delay another's weights. The
    order of commands matters: a revision has its backend before a name or a route leads to it, and loses it last.
    """
    running = config.parse_shape(observed.digest)
    places = (
        {}
        if running is None
        else {key: value for key, value in wanted.backend_map.items() if int(value) <= running.pool}
    )
    names = {key: name for key, name in wanted.version_map.items() if f"{key.partition('/')[0]}/{name}" in places}
    routes = _find_routable(wanted, observed, places)
    held = {model for model, value in routes.items() if wanted.route_map[model] != value}
    kept = {key: value for key, value in (observed.backend_map or {}).items() if key.partition("/")[0] in held}
    lines = (
        *_list_settings(config.BACKEND_MAP, places, observed.backend_map),
        *_list_changes(config.VERSION_MAP, names, observed.version_map),
        *_list_changes(config.MATCH_MAP, wanted.match_map, observed.match_map),
        *_list_changes(config.ROUTE_MAP, routes, _parse_models(observed.route_map)),
        *credential_commands(wanted.key_map, wanted.token_map, observed),
        *_list_removals(config.BACKEND_MAP, {**kept, **places}, observed.backend_map),
    )
    if lines:
        return Commands(lines=lines)
    if observed.digest != wanted.digest:
        return Reload(running=observed.digest, wanted=wanted.digest)
    return Nothing()


def credential_commands(
    key_map: Mapping[str, str] | None, token_map: Mapping[str, str] | None, observed: Observed
) -> tuple[str, ...]:
    """What changes the API keys and the keys of tokens alone; nothing where the running configuration takes none.

    A kind that is not known, None, stays as it is.

    A token finds a new key here, and is refused until the reload with which HAProxy reads it.
    """
    keys: Iterable[str] = () if key_map is None else _list_changes(access.KEY_MAP, key_map, observed.key_map)
    if token_map is None or observed.token_file is None:
        return tuple(keys)
    return (*keys, *_list_changes(observed.token_file, token_map, observed.token_map))


def ready_commands(readiness: Readiness, observed: Observed) -> tuple[str, ...]:
    """Say on the data port what the admin port's readiness says."""
    seen = {READY_KEY: observed.route_map[READY_KEY]} if READY_KEY in observed.route_map else {}
    return tuple(_list_changes(config.ROUTE_MAP, {READY_KEY: readiness.value}, seen))


def readiness_command(readiness: Readiness) -> str:
    """The command that sets the readiness in a running worker, whose route map has the key from its start on."""
    return f"set map {config.ROUTE_MAP} {READY_KEY} {readiness}"


def live_versions(wanted: Wanted, observed: Observed) -> dict[str, str]:
    """The version of each model's route that HAProxy was read to have whole: its decision, names and backends."""
    names, seen_names = _group_by_model(wanted.version_map), _group_by_model(observed.version_map)
    places, seen_places = _group_by_model(wanted.backend_map), _group_by_model(observed.backend_map or {})
    has_names = wanted.digest.split("-")[1:2] == observed.digest.split("-")[1:2]
    unmatched = {_parse_model(key) for key in wanted.match_map.keys() ^ (observed.match_map or {}).keys()}
    return {
        model: value.split(":")[VERSION_FIELD]
        for model, value in wanted.route_map.items()
        if observed.route_map.get(model) == value
        and names.get(model) == seen_names.get(model)
        and places.get(model) == seen_places.get(model)
        and model not in unmatched
        and (has_names or model not in wanted.named)
    }


def has_left(model: str, observed: Observed) -> bool:
    """Whether HAProxy was read to have nothing of a model."""
    return (
        model not in observed.route_map
        and model not in _group_by_model(observed.version_map)
        and model not in _group_by_model(observed.backend_map or {})
    )


def static_servers(observed: Observed | None) -> dict[str, list[config.StaticServer]]:
    """The servers, by backend, that a new worker starts with: those that are not being taken away."""
    found: dict[str, list[config.StaticServer]] = {}
    for (backend, name), server in (observed.servers if observed else {}).items():
        if server.is_enabled:
            found.setdefault(backend, []).append(config.StaticServer(name=name, host=server.host, port=server.port))
    return found


def state_file(observed: Observed | None) -> str:
    """The states that those servers start with: a replica that is up stays up, and no other counts as up unchecked."""
    lines = (server.line + "\n" for server in (observed.servers if observed else {}).values() if server.is_enabled)
    return STATE_HEADER + "".join(lines)


def _find_routable(wanted: Wanted, observed: Observed, places: Mapping[str, str]) -> dict[str, str]:
    """The routes to set now: as wanted where the backends are there, else as they are."""
    found: dict[str, str] = {}
    for model, value in wanted.route_map.items():
        roles = (name for name in value.split(":")[:2] if name != NO_REVISION)
        if all(f"{model}/{name}" in places for name in roles):
            found[model] = value
        elif model in observed.route_map:
            found[model] = observed.route_map[model]
    return found


def _list_changes(file: str, wanted: Mapping[str, str], observed: Mapping[str, str] | None) -> Iterable[str]:
    yield from _list_settings(file, wanted, observed)
    yield from _list_removals(file, wanted, observed)


def _list_settings(file: str, wanted: Mapping[str, str], observed: Mapping[str, str] | None) -> Iterable[str]:
    if observed is None:
        return  # another configuration is due, which has the map
    for key, value in wanted.items():
        if key not in observed:
            yield f"add map {file} {key} {value}"
        elif observed[key] != value:
            yield f"set map {file} {key} {value}"


def _list_removals(file: str, wanted: Mapping[str, str], observed: Mapping[str, str] | None) -> Iterable[str]:
    for key in observed or {}:
        if key not in wanted:
            yield f"del map {file} {key}"


def _parse_models(route_map: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in route_map.items() if key != READY_KEY}


def _parse_model(match_key: str) -> str:
    return match_key.rpartition("/")[2]


def _group_by_model(version_map: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for key, name in version_map.items():
        found.setdefault(key.partition("/")[0], {})[key] = name
    return found
