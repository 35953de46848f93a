"""What has to be done about maps and configuration: reload, commands in their order, or nothing."""

from __future__ import annotations

from dataclasses import replace

from fairlead_gateway.haproxy import changes, config
from fairlead_gateway.haproxy.observed import Observed, Operation, Server
from fairlead_gateway.haproxy.wanted import Readiness, Wanted

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
NAME = f"{A}-0123456789abcdef"


def server(operation: Operation = Operation.RUNNING, *, is_enabled: bool = True) -> Server:
    return Server(
        host="127.0.0.1",
        port=40001,
        operation=operation,
        is_enabled=is_enabled,
        is_drained=False,
        is_checked=True,
        line=f"4 p0001 7 {NAME} 127.0.0.1 {operation.value}",
    )


WANTED = Wanted(
    config="…",
    digest="d1-n1-64-500",
    shape=config.Shape(pool=64, check_ms=500),
    route_map={"digits": f"{A}:none:0:1000:30000:v1:-:0:0"},
    version_map={f"digits/versions/{A}": A},
    match_map={},
    backend_map={f"digits/{A}": "0001"},
    named=frozenset(),
)
OBSERVED = Observed(
    pid=1,
    digest="d1-n1-64-500",
    dropped_logs=0,
    route_map={"/ready": "1", **WANTED.route_map},
    version_map=WANTED.version_map,
    match_map={},
    backend_map=WANTED.backend_map,
    servers={("p0001", NAME): server(), ("f0001", NAME): server()},
)


def test_no_command_is_needed_when_haproxy_matches() -> None:
    assert changes.find_change(WANTED, OBSERVED) == changes.Nothing()
    assert changes.live_versions(WANTED, OBSERVED) == {"digits": "v1"}


def test_a_changed_weight_is_one_command() -> None:
    wanted = replace(WANTED, route_map={"digits": f"{A}:none:0:2000:30000:v2:-:0:0"})

    change = changes.find_change(wanted, OBSERVED)

    assert change == changes.Commands(lines=(f"set map route.map digits {A}:none:0:2000:30000:v2:-:0:0",))
    assert changes.live_versions(wanted, OBSERVED) == {}


def test_a_new_revision_gets_its_backend_before_its_route_and_an_old_one_loses_its_backend_after_its_route() -> None:
    wanted = replace(
        WANTED,
        route_map={"digits": f"{B}:none:0:1000:30000:v2:-:0:0"},
        version_map={f"digits/versions/{B}": B},
        backend_map={f"digits/{B}": "0002"},
    )

    change = changes.find_change(wanted, OBSERVED)

    assert change == changes.Commands(
        lines=(
            f"add map backend.map digits/{B} 0002",
            f"add map version.map digits/versions/{B} {B}",
            f"del map version.map digits/versions/{A}",
            f"set map route.map digits {B}:none:0:1000:30000:v2:-:0:0",
            f"del map backend.map digits/{A}",
        )
    )
    assert changes.live_versions(wanted, OBSERVED) == {}


def test_a_revision_beyond_the_pool_waits_for_the_reload_while_the_old_route_keeps_its_backend() -> None:
    wanted = replace(
        WANTED,
        digest="d2-n1-128-500",
        shape=config.Shape(pool=128, check_ms=500),
        route_map={"digits": f"{B}:none:0:1000:30000:v2:-:0:0", "other": f"{B}:none:0:1:1:v9:-:0:0"},
        version_map={**WANTED.version_map, f"digits/versions/{B}": B},
        backend_map={f"digits/{B}": "0065", f"other/{B}": "0066"},
    )

    assert changes.find_change(wanted, OBSERVED) == changes.Commands(
        lines=(f"del map version.map digits/versions/{A}",)
    )
    left = replace(OBSERVED, version_map={})
    assert changes.find_change(wanted, left) == changes.Reload(running="d1-n1-64-500", wanted="d2-n1-128-500")
    assert changes.live_versions(wanted, left) == {}


def test_another_models_reload_does_not_delay_a_weight() -> None:
    wanted = replace(
        WANTED,
        digest="d2-n1-128-500",
        route_map={"digits": f"{A}:none:0:1000:9:v2:-:0:0", "other": f"{B}:none:0:1:1:v9:-:0:0"},
        backend_map={**WANTED.backend_map, f"other/{B}": "0065"},
    )

    change = changes.find_change(wanted, OBSERVED)
    after = replace(OBSERVED, route_map={"digits": f"{A}:none:0:1000:9:v2:-:0:0"})

    assert change == changes.Commands(lines=(f"set map route.map digits {A}:none:0:1000:9:v2:-:0:0",))
    assert changes.find_change(wanted, after) == changes.Reload(running="d1-n1-64-500", wanted="d2-n1-128-500")
    assert changes.live_versions(wanted, after) == {"digits": "v2"}


def test_a_removed_model_leaves_the_maps_first_and_its_backend_last() -> None:
    wanted = replace(WANTED, route_map={}, version_map={}, backend_map={})

    change = changes.find_change(wanted, OBSERVED)

    assert isinstance(change, changes.Commands)
    assert set(change.lines[:2]) == {"del map route.map digits", f"del map version.map digits/versions/{A}"}
    assert change.lines[2:] == (f"del map backend.map digits/{A}",)
    assert not changes.has_left("digits", OBSERVED)
    assert not changes.has_left("digits", replace(OBSERVED, route_map={}, version_map={}))
    assert changes.has_left("digits", replace(OBSERVED, route_map={}, version_map={}, backend_map={}))


def test_a_version_is_not_live_while_its_backend_is_elsewhere() -> None:
    assert changes.live_versions(WANTED, replace(OBSERVED, backend_map={f"digits/{A}": "0002"})) == {}
    assert changes.live_versions(WANTED, replace(OBSERVED, backend_map=None)) == {}


def test_a_configuration_of_another_version_is_reloaded_instead_of_changed() -> None:
    observed = replace(OBSERVED, digest="d0", backend_map=None, match_map=None, route_map={}, version_map={})

    assert changes.find_change(WANTED, observed) == changes.Reload(running="d0", wanted="d1-n1-64-500")


def test_a_reload_keeps_the_servers_that_stay_with_their_states() -> None:
    leaving = f"{A}-fedcba9876543210"
    observed = replace(OBSERVED, servers={**OBSERVED.servers, ("p0001", leaving): server(is_enabled=False)})

    carried = config.StaticServer(name=NAME, host="127.0.0.1", port=40001)
    assert changes.static_servers(observed) == {"p0001": [carried], "f0001": [carried]}
    assert changes.state_file(observed).splitlines()[2:] == [server().line] * 2
    assert changes.static_servers(None) == {}
    assert len(changes.state_file(None).splitlines()) == 2


MATCHED = replace(
    WANTED,
    route_map={"digits": f"{A}:none:0:1000:30000:v2:-:1:0"},
    match_map={"62/header/x/digits": "1"},
    named=frozenset({"digits"}),
)


def test_a_changed_match_is_one_command_and_live_after_it_was_read_back() -> None:
    observed = replace(OBSERVED, route_map=MATCHED.route_map, match_map={"61/header/x/digits": "1"})

    change = changes.find_change(MATCHED, observed)

    assert change == changes.Commands(
        lines=("add map match.map 62/header/x/digits 1", "del map match.map 61/header/x/digits")
    )
    assert changes.live_versions(MATCHED, observed) == {}
    after = replace(observed, match_map=MATCHED.match_map)
    assert changes.find_change(MATCHED, after) == changes.Nothing()
    assert changes.live_versions(MATCHED, after) == {"digits": "v2"}


def test_a_route_with_a_new_header_name_is_live_after_the_reload() -> None:
    observed = replace(OBSERVED, digest="d0-n0-64-500", route_map=MATCHED.route_map, match_map=MATCHED.match_map)

    assert isinstance(changes.find_change(MATCHED, observed), changes.Reload)
    assert changes.live_versions(MATCHED, observed) == {}
    # Another pool with the same names takes nothing from it.
    assert changes.live_versions(MATCHED, replace(observed, digest="d0-n1-128-500")) == {"digits": "v2"}


def test_a_configuration_without_the_match_map_is_reloaded_instead_of_changed() -> None:
    observed = replace(OBSERVED, digest="d0-n0-64-500", route_map=MATCHED.route_map, match_map=None)

    assert isinstance(changes.find_change(MATCHED, observed), changes.Reload)
    assert changes.live_versions(MATCHED, observed) == {}


def test_readiness_is_a_key_that_no_model_can_have() -> None:
    assert changes.ready_commands(Readiness.READY, OBSERVED) == ()
    assert changes.ready_commands(Readiness.UNCHECKED, OBSERVED) == ("set map route.map /ready 0",)
    bare = replace(OBSERVED, route_map={})
    assert changes.ready_commands(Readiness.READY, bare) == ("add map route.map /ready 1",)
