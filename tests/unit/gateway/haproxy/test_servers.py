"""Which servers a place should have, and the commands that bring HAProxy there; places are dealt and given back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_gateway import routes, settings
from fairlead_gateway.haproxy import config, pool, servers
from fairlead_gateway.haproxy.observed import Observed, Operation, Server
from fairlead_gateway.nodes import directory, knowledge

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
ONE, TWO = f"{A}-0000000000000001", f"{A}-0000000000000002"
SHAPE = config.Shape(pool=64, check_ms=500)
NODE = settings.Node(cluster="default", host="127.0.1.1", port=7999)
OTHER = settings.Node(cluster="gpu", host="127.0.1.2", port=7999)


def read(changed: Mapping[str, object] | None = None, /, **clusters: str) -> routes.Table:
    """The model `digits` with these revisions, each on its cluster."""
    content: dict[str, object] = {
        "stable": None,
        "revisions": {name: {"cluster": cluster} for name, cluster in clusters.items()},
        "maxRequestBytes": 1,
        "requestTimeoutSeconds": 1,
        **(changed or {}),
    }
    text = json.dumps({**content, "version": routes.spec_version(content)})
    table = routes.read_table({"digits": text}, routes.EMPTY_TABLE)
    assert table.errors == {}
    return table


def know(*views: knowledge.View) -> knowledge.Knowledge:
    known = knowledge.Knowledge()
    known.set_nodes(view.node for view in views)
    for view in views:
        known.keep(view)
    return known


def view(node: settings.Node, *names: str, draining: tuple[str, ...] = ()) -> knowledge.View:
    replicas = {
        name: directory.Replica(
            name=name,
            model="digits",
            revision=name[:10],
            port=40000 + int(name[-4:], 16),
            state=directory.State.DRAINING if name in draining else directory.State.READY,
        )
        for name in (*names, *draining)
    }
    return knowledge.View(node=node, answer=directory.Answer(version="1", replicas=replicas, refused=0), is_asked=True)


def find(table: routes.Table, known: knowledge.Knowledge) -> servers.Targets:
    keys = [(route.model, each.name) for route in table.routes.values() for each in route.revisions]
    return servers.find_targets(table.routes.values(), pool.Pool().assign(keys), known)


def seen(backend: str, name: str, **changed: object) -> dict[tuple[str, str], Server]:
    made = Server(
        host="127.0.1.1",
        port=40000 + int(name[-4:], 16),
        operation=Operation.RUNNING,
        is_enabled=True,
        is_drained=False,
        is_checked=True,
        line="",
    )
    return {(backend, name): replace(made, **changed)}  # type: ignore[arg-type]


def observed(*found: dict[tuple[str, str], Server], led: tuple[str, ...] = ("0001",)) -> Observed:
    return Observed(
        pid=1,
        digest="d-n-64-500",
        dropped_logs=0,
        route_map={},
        version_map={},
        match_map={},
        backend_map={f"digits/{place}": place for place in led},
        servers={key: server for each in found for key, server in each.items()},
    )


BOTH = ("p0001", "f0001")


def test_a_new_replica_is_added_to_both_backends_and_starts_as_down() -> None:
    found = servers.find_commands(find(read(**{A: "default"}), know(view(NODE, ONE))), observed(), SHAPE)

    number = config.server_id(ONE)
    assert found == tuple(
        f"add server {path} 127.0.1.1:40001 id {number} {config.check_text(check_ms)};"
        f"enable server {path};set server {path} health down;enable health {path}"
        for path, check_ms in ((f"p0001/{ONE}", 500), (f"f0001/{ONE}", config.FEEDBACK_INTERVAL_MS))
    )


def test_no_command_is_needed_for_a_replica_with_its_servers() -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, ONE)))
    here = observed(*(seen(backend, ONE) for backend in BOTH))

    assert servers.find_commands(targets, here, SHAPE) == ()
    assert servers.count_unchecked(targets, here) == 0
    assert servers.count_unchecked(targets, observed(seen("p0001", ONE, is_checked=False))) == 1
    assert servers.count_unchecked(targets, observed()) == 1


def test_a_draining_replica_is_drained_once_and_never_added() -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, TWO, draining=(ONE,))))
    other = [seen(backend, TWO) for backend in BOTH]
    here = observed(*other, *(seen(backend, ONE) for backend in BOTH))
    drained = observed(*other, *(seen(backend, ONE, is_drained=True) for backend in BOTH))

    assert servers.find_commands(targets, here, SHAPE) == tuple(
        f"set server {backend}/{ONE} state drain" for backend in BOTH
    )
    assert servers.find_commands(targets, drained, SHAPE) == ()
    assert servers.find_commands(targets, observed(*other), SHAPE) == ()
    assert servers.count_unchecked(targets, observed(*other)) == 0


@pytest.mark.parametrize(
    "successor",
    [{"operation": Operation.STOPPED}, {"operation": Operation.DRAINING}, {"is_drained": True}, {"is_enabled": False}],
    ids=["not checked yet", "its check says that it drains", "drained", "disabled"],
)
def test_the_last_replica_that_takes_requests_is_drained_when_another_one_is_up(successor: dict[str, object]) -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, TWO, draining=(ONE,))))
    last = seen("p0001", ONE) | seen("f0001", ONE)
    too_early = observed(last, seen("p0001", TWO, **successor), seen("f0001", TWO, **successor))
    # Only predictions have a successor yet: what is said of answers has a backend of its own.
    at_one = observed(last, seen("p0001", TWO), seen("f0001", TWO, **successor))

    assert not any("drain" in line for line in servers.find_commands(targets, too_early, SHAPE))
    assert servers.is_drain_due(targets, too_early)
    assert f"set server p0001/{ONE} state drain" in servers.find_commands(targets, at_one, SHAPE)
    assert f"set server f0001/{ONE} state drain" not in servers.find_commands(targets, at_one, SHAPE)
    assert not servers.is_drain_due(targets, observed(last, seen("p0001", TWO), seen("f0001", TWO)))


def test_the_last_replica_is_drained_at_once_where_requests_are_held() -> None:
    """Feedback is never held, and neither are requests for a revision that is not stable."""
    hold = {"requests": 1, "seconds": 1, "parallel": 1, "idleSeconds": 1}
    table = read({"stable": A, "hold": hold}, **{A: "default", B: "default"})
    name = f"{B}-0000000000000003"
    here = observed(*(seen(backend, ONE) for backend in BOTH), seen("p0002", name), seen("f0002", name))

    found = servers.find_commands(find(table, know(view(NODE, draining=(ONE, name)))), here, SHAPE)

    assert found == (f"set server p0001/{ONE} state drain",)


def test_the_last_replica_is_drained_once_it_takes_no_requests() -> None:
    """Its own check says so after a while, or its port is closed."""
    targets = find(read(**{A: "default"}), know(view(NODE, draining=(ONE,))))
    for operation in (Operation.DRAINING, Operation.STOPPED):
        here = observed(seen("p0001", ONE, operation=operation))

        assert servers.find_commands(targets, here, SHAPE) == (f"set server p0001/{ONE} state drain",)
        assert not servers.is_drain_due(targets, here)


def test_another_revision_is_no_successor() -> None:
    name = f"{B}-0000000000000003"
    targets = find(read(**{A: "default", B: "default"}), know(view(NODE, name, draining=(ONE,))))
    here = observed(seen("p0001", ONE), seen("p0002", name), seen("f0002", name))

    assert servers.find_commands(targets, here, SHAPE) == ()
    assert servers.is_drain_due(targets, here)


def test_a_replica_that_is_no_longer_listed_is_disabled_and_then_deleted() -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, TWO)))
    here = observed(seen("p0001", TWO), seen("f0001", TWO), seen("p0001", ONE), seen("f0001", ONE, is_enabled=False))

    assert servers.find_commands(targets, here, SHAPE) == (
        f"set server p0001/{ONE} state maint;del server p0001/{ONE}",
        f"del server f0001/{ONE}",
    )


def test_a_replica_that_is_listed_again_starts_as_down() -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, ONE)))
    here = observed(seen("p0001", ONE, is_enabled=False), seen("f0001", ONE))

    assert servers.find_commands(targets, here, SHAPE) == (
        f"set server p0001/{ONE} state ready;set server p0001/{ONE} health down",
    )


def test_a_name_at_another_address_is_another_server() -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, ONE)))
    here = observed(seen("p0001", ONE, port=1), seen("f0001", ONE))

    assert servers.find_commands(targets, here, SHAPE) == (
        f"set server p0001/{ONE} state maint;del server p0001/{ONE}",
    )


def test_servers_of_a_node_that_was_not_read_yet_are_kept() -> None:
    table = read(**{A: "default"})
    silent = know(knowledge.View(node=NODE, is_asked=True, reason="away"))
    here = observed(*(seen(backend, ONE) for backend in BOTH))

    assert servers.find_commands(find(table, silent), here, SHAPE) == ()
    # But a server of a node that is listed no more is of nobody.
    gone = know(knowledge.View(node=replace(NODE, host="127.0.9.9")))
    assert len(servers.find_commands(find(table, gone), here, SHAPE)) == 2
    # And the silence of another cluster's node says nothing about this one's.
    mixed = know(view(NODE), knowledge.View(node=replace(OTHER, host="127.0.1.1")))
    assert len(servers.find_commands(find(table, mixed), here, SHAPE)) == 2


def test_no_server_is_removed_before_the_nodes_are_listed() -> None:
    here = observed(*(seen(backend, ONE) for backend in BOTH))

    assert servers.find_commands(find(read(**{A: "default"}), knowledge.Knowledge()), here, SHAPE) == ()


def test_the_last_list_of_a_node_is_used_while_it_is_unreadable() -> None:
    silent = replace(view(NODE, ONE), reason="away")
    here = observed(*(seen(backend, ONE) for backend in BOTH))

    assert servers.find_commands(find(read(**{A: "default"}), know(silent)), here, SHAPE) == ()


def test_only_replicas_on_the_cluster_of_the_revision_count() -> None:
    name = f"{B}-0000000000000003"
    known = know(view(NODE, ONE, name), view(OTHER, TWO, name))

    targets = find(read(**{A: "default", B: "gpu"}), known)

    assert {place: set(names) for place, names in targets.places.items()} == {1: {ONE}, 2: {name}}
    # A name that two nodes of one cluster list is the first one's.
    twice = know(view(NODE, ONE), view(replace(NODE, host="127.0.9.9"), ONE))
    assert find(read(**{A: "default"}), twice).places[1][ONE].host == NODE.host


def test_a_place_without_a_route_keeps_its_servers_while_it_gets_requests() -> None:
    targets = find(read(**{B: "default"}), know(view(NODE)))
    here = (seen("p0009", ONE), seen("f0009", ONE))

    assert servers.find_commands(targets, observed(*here, led=("0001", "0009")), SHAPE) == ()
    assert len(servers.find_commands(targets, observed(*here, led=("0001",)), SHAPE)) == 2


def test_a_place_beyond_the_running_pool_waits_for_the_larger_one() -> None:
    targets = find(read(**{A: "default"}), know(view(NODE, ONE)))

    assert servers.find_commands(targets, observed(), config.Shape(pool=0, check_ms=500)) == ()


KEYS = st.tuples(st.sampled_from("abc"), st.sampled_from([A, B, "cccccccccc"]))


@given(st.lists(st.tuples(st.booleans(), st.sets(KEYS)), max_size=20))
def test_a_place_is_assigned_once_and_stays_assigned(
    steps: list[tuple[bool, set[pool.Key]]],
) -> None:
    made = pool.Pool(size=64)
    for is_release, keys in steps:
        before = dict(made.places)
        made = made.release(keys) if is_release else made.assign(keys)

        assert len(set(made.places.values())) == len(made.places)
        assert all(0 < place <= made.size for place in made.places.values())
        assert all(made.places[key] == place for key, place in before.items() if key in made.places)
        assert pool.from_json(json.loads(json.dumps(pool.to_json(made)))) == made
        led = {f"{model}/{name}": config.place_value(place) for (model, name), place in made.places.items()}
        assert pool.from_map(led, made.size) == made


def test_a_pool_grows_before_it_is_full_and_fails_with_a_reason_at_its_limit() -> None:
    keys = [("digits", f"{number:010x}") for number in range(pool.SIZE_MAX + 1)]

    assert pool.Pool().assign(keys[:48]).size == 64
    assert pool.Pool().assign(keys[:49]).size == 128
    assert pool.Pool().assign(keys[:-1]).size == pool.SIZE_MAX
    with pytest.raises(pool.PoolFullError, match="8193 revisions are more than the 8192"):
        pool.Pool().assign(keys)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"size": 64}', '{"size": 1, "places": {}}', '{"size": 64, "places": {"a": 1}}',
     '{"size": 64, "places": {"a/b": 0}}', '{"size": 64, "places": {"a/b": 65}}',
     '{"size": 64, "places": {"a/b": 1, "a/c": 1}}', '{"size": 64, "places": {"a/b": "1"}}'],
)  # fmt: skip
def test_an_invalid_pool_file_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller logs it whatever it says
        pool.from_json(json.loads(text))
