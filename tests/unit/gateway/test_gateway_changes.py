"""What has to be done for what HAProxy has: reload, commands in their order, or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairlead_gateway.haproxy import changes
from fairlead_gateway.haproxy.observed import Observed, Operation, Server
from fairlead_gateway.haproxy.wanted import Slot, Wanted

A, B = "aaaaaaaaaa", "bbbbbbbbbb"


def slot(port: int, *, is_enabled: bool = True) -> Slot:
    return Slot(host="127.0.0.1", port=port, is_enabled=is_enabled)


def server(
    port: int, operation: Operation = Operation.STOPPED, *, is_enabled: bool = True, is_checked: bool = True
) -> Server:
    line = f"4 rev_digits_{A} 1 s0 127.0.0.1 {operation.value} 0 1 1 9 15 3 3 6 0 0 0 - {port} - 0 0 - - 0"
    return Server(
        host="127.0.0.1", port=port, operation=operation, is_enabled=is_enabled, is_checked=is_checked, line=line
    )


WANTED = Wanted(
    config="…",
    digest="d1",
    route_map={"digits": f"{A}:none:0:1000:30000:v1:-:0:0"},
    version_map={f"digits/versions/{A}": A},
    match_map={},
    named=frozenset(),
    slots={(f"rev_digits_{A}", "s0"): slot(1), (f"rev_digits_{A}", "s1"): slot(2, is_enabled=False)},
)
OBSERVED = Observed(
    pid=1,
    digest="d1",
    dropped_logs=0,
    route_map={"/ready": "1", **WANTED.route_map},
    version_map=WANTED.version_map,
    match_map={},
    servers={
        (f"rev_digits_{A}", "s0"): server(1, Operation.RUNNING),
        (f"rev_digits_{A}", "s1"): server(2, is_enabled=False, is_checked=False),
    },
)


def test_nothing_is_done_when_haproxy_has_what_is_wanted() -> None:
    assert changes.find_change(WANTED, OBSERVED) == changes.Nothing()
    assert changes.live_versions(WANTED, OBSERVED) == {"digits": "v1"}
    assert changes.unchecked_slots(WANTED, OBSERVED) == 0


def test_a_weight_is_one_command() -> None:
    wanted = replace(WANTED, route_map={"digits": f"{A}:none:0:2000:30000:v2:-:0:0"})

    change = changes.find_change(wanted, OBSERVED)

    assert change == changes.Commands(lines=(f"set map route.map digits {A}:none:0:2000:30000:v2:-:0:0",))
    assert changes.live_versions(wanted, OBSERVED) == {}


def test_a_place_is_looked_at_from_before_the_route_says_so_and_never_counts_as_up_unchecked() -> None:
    wanted = replace(
        WANTED,
        route_map={"digits": f"{A}:none:0:1000:30000:v2:-:0:0"},
        slots={key: replace(one, is_enabled=True) for key, one in WANTED.slots.items()},
    )

    change = changes.find_change(wanted, OBSERVED)

    name = f"rev_digits_{A}/s1"
    assert isinstance(change, changes.Commands)
    assert change.lines[0] == f"set server {name} state ready;set server {name} health down"
    assert change.lines[1].startswith("set map route.map digits")


@pytest.mark.parametrize("operation", [Operation.RUNNING, Operation.STARTING, Operation.DRAINING])
def test_a_replica_beyond_the_window_keeps_its_place_until_it_is_gone(operation: Operation) -> None:
    key = (f"rev_digits_{A}", "s1")
    living = replace(OBSERVED, servers={**OBSERVED.servers, key: server(2, operation)})
    gone = replace(OBSERVED, servers={**OBSERVED.servers, key: server(2)})

    assert changes.find_change(WANTED, living) == changes.Nothing()
    assert changes.find_change(WANTED, gone) == changes.Commands(lines=(f"set server rev_digits_{A}/s1 state maint",))


def test_a_new_revision_needs_a_reload_and_is_routed_to_only_after_it() -> None:
    wanted = replace(
        WANTED,
        digest="d2",
        route_map={"digits": f"{B}:none:0:1000:30000:v2:-:0:0", "other": f"{B}:none:0:1:1:v9:-:0:0"},
        version_map={**WANTED.version_map, f"digits/versions/{B}": B},
        slots={**WANTED.slots, (f"rev_digits_{B}", "s0"): slot(3)},
    )

    assert changes.find_change(wanted, OBSERVED) == changes.Reload(running="d1", wanted="d2")
    assert changes.live_versions(wanted, OBSERVED) == {}


def test_another_models_reload_does_not_delay_a_weight() -> None:
    wanted = replace(
        WANTED,
        digest="d2",
        route_map={"digits": f"{A}:none:0:1000:9:v2:-:0:0", "other": f"{B}:none:0:1:1:v9:-:0:0"},
        slots={**WANTED.slots, (f"rev_other_{B}", "s0"): slot(3)},
    )

    change = changes.find_change(wanted, OBSERVED)
    after = replace(OBSERVED, route_map={"digits": f"{A}:none:0:1000:9:v2:-:0:0"})

    assert change == changes.Commands(lines=(f"set map route.map digits {A}:none:0:1000:9:v2:-:0:0",))
    assert changes.find_change(wanted, after) == changes.Reload(running="d1", wanted="d2")
    assert changes.live_versions(wanted, after) == {"digits": "v2"}


def test_a_model_that_left_is_taken_from_the_maps_before_its_backend_goes() -> None:
    wanted = replace(WANTED, digest="d2", route_map={}, version_map={}, slots={})

    change = changes.find_change(wanted, OBSERVED)

    assert isinstance(change, changes.Commands)
    assert set(change.lines) == {"del map route.map digits", f"del map version.map digits/versions/{A}"}


def test_a_version_is_not_live_while_its_place_is_elsewhere_or_not_looked_at() -> None:
    key = (f"rev_digits_{A}", "s0")
    elsewhere = replace(OBSERVED, servers={**OBSERVED.servers, key: server(9, Operation.RUNNING)})
    ignored = replace(OBSERVED, servers={**OBSERVED.servers, key: server(1, is_enabled=False)})

    assert changes.live_versions(WANTED, elsewhere) == {}
    assert changes.live_versions(WANTED, ignored) == {}


def test_a_reload_carries_over_what_is_up_and_starts_everything_else_down() -> None:
    wanted = replace(WANTED, slots={**WANTED.slots, (f"rev_digits_{B}", "s0"): slot(3)})

    lines = changes.state_file(wanted, OBSERVED).splitlines()[2:]

    assert lines[0] == OBSERVED.servers[f"rev_digits_{A}", "s0"].line
    fields = {line.split(" ")[1] + "/" + line.split(" ")[3]: line.split(" ")[5:7] for line in lines[1:]}
    assert fields == {f"rev_digits_{A}/s1": ["0", "1"], f"rev_digits_{B}/s0": ["0", "0"]}


def test_a_port_that_moved_does_not_inherit_that_it_was_up() -> None:
    moved = replace(WANTED, slots={(f"rev_digits_{A}", "s0"): slot(77)})

    line = changes.state_file(moved, OBSERVED).splitlines()[2].split(" ")

    assert (line[5], line[18]) == ("0", "77")


MATCHED = replace(
    WANTED,
    digest="d1-n1",
    route_map={"digits": f"{A}:none:0:1000:30000:v2:-:1:0"},
    match_map={"62/header/x/digits": "1"},
    named=frozenset({"digits"}),
)


def test_a_value_that_matches_is_one_command_and_live_once_it_was_read() -> None:
    observed = replace(OBSERVED, digest="d1-n1", route_map=MATCHED.route_map, match_map={"61/header/x/digits": "1"})

    change = changes.find_change(MATCHED, observed)

    assert change == changes.Commands(
        lines=("add map match.map 62/header/x/digits 1", "del map match.map 61/header/x/digits")
    )
    assert changes.live_versions(MATCHED, observed) == {}
    after = replace(observed, match_map=MATCHED.match_map)
    assert changes.find_change(MATCHED, after) == changes.Nothing()
    assert changes.live_versions(MATCHED, after) == {"digits": "v2"}


def test_a_route_that_needs_a_name_is_live_once_the_configuration_has_it() -> None:
    observed = replace(OBSERVED, digest="d0-n0", route_map=MATCHED.route_map, match_map=MATCHED.match_map)

    assert isinstance(changes.find_change(MATCHED, observed), changes.Reload)
    assert changes.live_versions(MATCHED, observed) == {}
    # Another topology with the same names takes nothing from it.
    assert changes.live_versions(MATCHED, replace(observed, digest="d0-n1")) == {"digits": "v2"}


def test_a_configuration_without_the_map_is_replaced_and_not_commanded() -> None:
    observed = replace(OBSERVED, digest="d0", route_map=MATCHED.route_map, match_map=None)

    assert isinstance(changes.find_change(MATCHED, observed), changes.Reload)
    assert changes.live_versions(MATCHED, observed) == {}


def test_readiness_is_a_key_that_no_model_can_have() -> None:
    assert changes.ready_commands(is_ready=True, observed=OBSERVED) == ()
    assert changes.ready_commands(is_ready=False, observed=OBSERVED) == ("set map route.map /ready 0",)
    bare = replace(OBSERVED, route_map={})
    assert changes.ready_commands(is_ready=True, observed=bare) == ("add map route.map /ready 1",)
