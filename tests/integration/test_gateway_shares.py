"""Who gets the candidate besides its share, who keeps it, what is marked: real agent, real HAProxy, stand-ins."""

from __future__ import annotations

import collections
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import counting_client, request_counts
from tests.support.gateway_process import (
    Gateway,
    Replicas,
    StandIn,
    fetch,
    gateway_and_replicas,
    revision,
    spec,
)
from tests.support.until import until

from fairlead_gateway.haproxy import config, control, observed

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
MANY = request_counts.at_least(10_000)
WHOLE_WEIGHT = 10_000
COUNTED, COPIES, FEEDBACK = (
    f"fairlead_gateway_{name}_total" for name in ("requests", "shadow_copies", "feedback_requests")
)


class World:
    """A gateway with one model: two replicas of the stable revision A, one of the candidate B."""

    def __init__(self, gateway: Gateway, replicas: Replicas) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self.revisions = {A: revision(), B: revision()}
        self.of_a = [replicas.start("digits", A) for _ in range(2)]
        self.of_b = replicas.start("digits", B)
        self.apply()
        gateway.wait_up("digits", A, 2)
        gateway.wait_up("digits", B)

    def apply(self, **changed: Any) -> None:
        self.gateway.apply(digits=spec(A, self.revisions, **{"candidate": B, **changed}))

    def asked(self, requests: int = MANY, *headers: tuple[str, str]) -> counting_client.Settings:
        return counting_client.Settings(
            url=self.gateway.url, model="digits", bodies=(b"{}",), requests=requests, connections=8, headers=headers
        )

    def marked(self) -> int:
        return sum(counts(each)["marked"] for each in self.of_a)

    def infer(self, headers: dict[str, str] | None = None) -> Any:
        return fetch(f"{self.gateway.url}/v2/models/digits/infer", body=b"{}", headers=headers).json


def counts(replica: StandIn) -> dict[str, int]:
    return dict(fetch(f"http://127.0.0.1:{replica.port}/-/counts").json)


def revisions_of(gateway: Gateway, header: str, values: list[str]) -> dict[str, str]:
    """The revision that answers each value, asked in one stream: one after the other takes a minute for 10,000."""
    found: list[str] = []
    with socket.create_connection(("127.0.0.1", gateway.data_port), timeout=100) as stream:
        for start in range(0, len(values), PIPELINED):
            batch = values[start : start + PIPELINED]
            lines = (f"{ASK}{header}: {value}\r\ncontent-length: 2\r\n\r\n{{}}" for value in batch)
            stream.sendall("".join(lines).encode())
            text = b""
            while len(names := re.findall(rb"x-fairlead-revision: (\w+)\r\n", text)) < len(batch):
                text += stream.recv(1 << 16)
            found += [name.decode() for name in names]
    return dict(zip(values, found, strict=True))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with gateway_and_replicas(tmp_path_factory.mktemp("shares")) as (gateway, replicas):
        yield World(gateway, replicas)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[World]:
    with gateway_and_replicas(tmp_path) as (gateway, replicas):
        yield World(gateway, replicas)


ASK, PIPELINED = "POST /v2/models/digits/infer HTTP/1.1\r\nhost: a\r\n", 100

MATCH = [
    {"header": "X-Group", "value": "beta"},
    {"header": "x-group", "value": "#[a]/b"},
    {"cookie": "c", "value": "on"},
]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"x-group": "beta"}, B, id="the value"),
        pytest.param({"X-GROUP": "beta"}, B, id="a header's name in capitals"),
        pytest.param({"x-group": "#[a]/b"}, B, id="another value of the same header"),
        pytest.param({"cookie": "a=b; c=on; d=e"}, B, id="a cookie among others"),
        pytest.param({"x-group": "alpha", "cookie": "c=on"}, B, id="one of two is enough"),
        pytest.param({"x-group": "beta", "x-fairlead-revision": A}, A, id="pinned"),
        pytest.param({}, A, id="nothing"),
        pytest.param({"x-group": ""}, A, id="empty"),
        pytest.param({"x-group": "Beta"}, A, id="a value in capitals"),
        pytest.param({"x-group": "beta2"}, A, id="more than the value"),
        pytest.param({"x-group": "beta, alpha"}, A, id="a list"),
        pytest.param({"cookie": "C=on"}, A, id="a cookie's name in capitals"),
        pytest.param({"cookie": "c=off; x=on"}, A, id="another cookie's value"),
        pytest.param({"c": "on", "cookie": "x-group=beta"}, A, id="header and cookie swapped"),
        pytest.param({"x-group": "62657461/header/x-group/digits"}, A, id="the key itself"),
        pytest.param({"x-group": "x" * 5000}, A, id="a long one"),
    ],
)
def test_a_header_or_a_cookie_with_exactly_the_value_goes_to_the_candidate(
    world: World, headers: dict[str, str], expected: str
) -> None:
    world.apply(match=MATCH)

    assert world.infer(headers)["revision"] == expected


async def test_matching_requests_do_not_change_the_share_of_the_others(world: World) -> None:
    world.apply(match=MATCH, candidateWeight=100)

    matched = await counting_client.run(world.asked(1000, ("x-group", "beta")))
    others = await counting_client.run(world.asked(MANY, ("x-group", "alpha")))

    assert (matched.failures, others.failures) == ((), ())
    assert matched.revisions[B].count == 1000
    assert abs(others.revisions[B].count - MANY / 100) <= 1


def test_changing_or_removing_a_match_needs_no_reload(world: World) -> None:
    world.apply(match=MATCH, sticky={"header": "x-user"})
    reloads = world.gateway.metric("fairlead_gateway_haproxy_reloads_total")

    world.apply(match=[{"header": "x-group", "value": "gamma"}], sticky={"header": "x-user"})
    changed = (world.infer({"x-group": "gamma"})["revision"], world.infer({"x-group": "beta"})["revision"])
    world.apply(candidateWeight=0)

    assert changed == (B, A)
    assert world.infer({"x-group": "gamma"})["revision"] == A
    assert world.gateway.metric("fairlead_gateway_haproxy_reloads_total") == reloads


def test_a_match_never_waits_for_a_candidate_that_has_no_replica(alone: World) -> None:
    alone.apply(match=MATCH)
    assert alone.infer({"x-group": "beta"})["revision"] == B

    alone.of_b.kill()
    alone.gateway.wait_up("digits", B, 0)

    assert [alone.infer({"x-group": "beta"})["revision"] for _ in range(20)] == [A] * 20


def test_the_stable_revision_takes_the_share_of_a_candidate_without_replicas(
    alone: World,
) -> None:
    alone.apply(candidateWeight=5000, sticky={"header": "x-user"})
    users = [{"x-user": f"user-{number}"} for number in range(20)]
    sticking = [alone.infer(user)["revision"] for user in users]

    alone.of_b.kill()
    alone.gateway.wait_up("digits", B, 0)
    counted = [alone.infer()["revision"] for _ in range(20)]
    stuck = [alone.infer(user)["revision"] for user in users]
    pinned = fetch(f"{alone.gateway.url}/v2/models/digits/infer", headers={"x-fairlead-revision": B}).status
    alone.replicas.start("digits", B)
    alone.gateway.wait_up("digits", B)

    assert set(sticking) == {A, B}
    assert counted == stuck == [A] * 20
    assert pinned == 503
    assert [alone.infer(user)["revision"] for user in users] == sticking
    assert collections.Counter(alone.infer()["revision"] for _ in range(20)) == {A: 10, B: 10}


def test_a_sticky_value_keeps_its_revision_and_moves_only_to_the_candidate(world: World) -> None:
    users = [f"user-{number}" for number in range(10_000)]
    before: set[str] = set()
    for weight in (100, 2500, 5000) if request_counts.are_whole() else (100, 2500):
        world.apply(candidateWeight=weight, sticky={"header": "X-User"})
        found = revisions_of(world.gateway, "x-user", users)
        of_candidate = {user for user, name in found.items() if name == B}

        assert abs(len(of_candidate) - weight) <= 100, "within a point of the share"
        assert before <= of_candidate
        some = users[::20]
        assert revisions_of(world.gateway, "x-user", some) == {user: found[user] for user in some}
        before = of_candidate


async def test_requests_without_the_sticky_header_are_split_exactly(world: World) -> None:
    world.apply(candidateWeight=2500, sticky={"header": "x-user"})

    sticking = await counting_client.run(world.asked(500, ("x-user", "ada")))
    others = await counting_client.run(world.asked())
    empty = await counting_client.run(world.asked(MANY, ("x-user", "")))

    assert len(sticking.revisions) == 1
    assert [abs(report.revisions[B].count - MANY / 4) <= 1 for report in (others, empty)] == [True, True]
    assert (sticking.failures, others.failures, empty.failures) == ((), (), ())


@pytest.mark.parametrize("share", [100, 2500, 10_000])
async def test_exactly_the_share_of_the_stable_revisions_requests_is_marked_for_shadow(
    world: World, share: int
) -> None:
    world.apply(shadow=share)
    before = world.marked()

    report = await counting_client.run(world.asked())

    assert report.failures == ()
    assert report.revisions[A].count == MANY
    assert abs(world.marked() - before - MANY * share / WHOLE_WEIGHT) <= 1


def test_a_shadow_mark_names_gateway_and_candidate_and_a_clients_mark_is_dropped(world: World) -> None:
    world.apply(shadow=10_000)
    own = {"x-fairlead-shadow": "10.0.0.1:1/x", "x-fairlead-shadow-copy": "x", "x-fairlead-shadow-more": "y"}

    assert world.infer(own)["headers"] == {"x-fairlead-shadow": f"127.0.0.1:{world.gateway.data_port}/{B}"}
    world.apply(shadow=0)
    assert world.infer(own)["headers"] == {}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/v2/models/digits/infer", {"x-fairlead-revision": A}, id="pinned by a header"),
        pytest.param(f"/v2/models/digits/versions/{A}/infer", {}, id="pinned by the path"),
        pytest.param("/v2/models/digits/infer", {"x-group": "beta"}, id="the candidate's"),
        pytest.param("/v2/models/digits/feedback", {}, id="feedback"),
    ],
)
def test_pinned_requests_are_not_marked_for_shadow(world: World, path: str, headers: dict[str, str]) -> None:
    world.apply(shadow=10_000, match=MATCH)

    answers = [fetch(world.gateway.url + path, body=b"{}", headers=headers).json for _ in range(3)]

    assert not any("x-fairlead-shadow" in answer["headers"] for answer in answers)
    assert "x-fairlead-shadow" not in fetch(f"{world.gateway.url}/v2/models/digits").json["headers"], "no body to copy"


async def test_a_shadow_copy_is_counted_separately(world: World) -> None:
    world.apply(shadow=100, candidateWeight=0)
    labels = {"model": "digits", "revision": B}
    before = {name: world.gateway.metric(name, **labels) for name in (COUNTED, COPIES)}
    measured = requests_of(world, B)
    marked = world.marked()

    first = await counting_client.run(world.asked(MANY // 2))
    copies = await counting_client.run(
        world.asked(1000, ("x-fairlead-revision", B), ("x-fairlead-shadow-copy", "mark"), ("x-fairlead-shadow", "x"))
    )
    second = await counting_client.run(world.asked(MANY // 2))

    assert (first.failures, copies.failures, second.failures) == ((), (), ())
    assert copies.revisions[B].count == 1000
    assert abs(world.marked() - marked - MANY / 100) <= 1
    until(lambda: world.gateway.metric(COPIES, **labels) == before[COPIES] + 1000, "the copies are counted")
    assert world.gateway.metric(COUNTED, **labels) == before[COUNTED]
    assert requests_of(world, B) == measured
    seen = world.infer({"x-fairlead-revision": B, "x-fairlead-shadow-copy": "mark"})
    assert seen["headers"] == {"x-fairlead-revision": B, "x-fairlead-shadow-copy": "mark"}


def requests_of(world: World, name: str) -> Any:
    answer = world.gateway.admin("/v1/measurements/digits")
    assert answer is not None
    return answer.json["revisions"][name]["requests"]


def test_the_same_feedback_meets_the_same_replica_of_the_stable(alone: World) -> None:
    alone.apply(candidateWeight=5000, match=MATCH)
    url = f"{alone.gateway.url}/v2/models/digits/feedback"

    def ports(tokens: list[str]) -> dict[str, int]:
        return {token: feedback(url, token)["port"] for token in tokens}

    tokens = [f"token-{number}" for number in range(200)]
    first = ports(tokens)
    share = collections.Counter(first.values())

    assert ports(tokens) == first
    assert set(share) == {each.port for each in alone.of_a}
    assert min(share.values()) > 20
    # Who is lost takes only its own with it, and another one takes some of both.
    alone.of_a[0].kill()
    alone.gateway.wait_up("digits", A, 1)
    assert set(ports(tokens).values()) == {alone.of_a[1].port}
    alone.of_a[0] = alone.replicas.start("digits", A)
    alone.gateway.wait_up("digits", A, 2)
    second = ports(tokens)
    assert {second[token] for token, port in first.items() if port == alone.of_a[1].port} <= {
        alone.of_a[1].port,
        alone.of_a[0].port,
    }
    assert min(collections.Counter(second.values()).values()) > 20
    pinned = feedback(url, "token-1", {"x-fairlead-revision": B, "x-group": "beta"})
    assert (pinned["revision"], pinned["port"]) == (A, second["token-1"])


def feedback(url: str, token: str, headers: dict[str, str] | None = None) -> Any:
    answer = fetch(url, body=b"{}", headers={"x-fairlead-feedback": token, **(headers or {})})
    assert answer.status == 200
    return answer.json


def test_feedback_is_no_request_of_a_prediction_and_needs_no_token_in_a_header(world: World) -> None:
    world.apply()
    labels = {"model": "digits", "revision": A}
    before = {name: world.gateway.metric(name, **labels) for name in (COUNTED, FEEDBACK)}

    answers = [fetch(f"{world.gateway.url}/v2/models/digits/feedback", body=b"{}") for _ in range(10)]

    assert {answer.headers["x-fairlead-revision"] for answer in answers} == {A}
    until(lambda: world.gateway.metric(FEEDBACK, **labels) == before[FEEDBACK] + 10, "they are counted")
    assert world.gateway.metric(COUNTED, **labels) == before[COUNTED]


async def test_feedback_reaches_the_same_replicas_as_predictions_after_a_reload(alone: World) -> None:
    for number in range(3):
        # Another name is another configuration.
        alone.apply(match=[{"header": f"x-{number}", "value": "1"}])
        seen = await up_by_backend(alone.gateway)
        assert seen["f0001"] == seen["p0001"] == {each.name for each in alone.of_a}
        assert seen["f0002"] == seen["p0002"] == {alone.of_b.name}
    assert alone.gateway.metric("fairlead_gateway_haproxy_reloads_total") >= 3


async def test_a_missing_map_differs_from_an_empty_one(world: World) -> None:
    world.apply(match=MATCH)
    world.apply()  # the name stays until another reload is due, and with it the map
    haproxy = control.Control(world.gateway.state_dir)
    unknown, empty = await haproxy.ask("show map elsewhere.map"), await haproxy.ask(f"show map {config.MATCH_MAP}")
    haproxy.close()

    assert (observed.is_unknown_map(unknown), observed.is_unknown_map(empty)) == (True, False)


async def up_by_backend(gateway: Gateway) -> dict[str, set[str]]:
    """The servers that HAProxy would send a request to."""
    haproxy = control.Control(gateway.state_dir)
    lines = (await haproxy.ask("show stat -1 4 -1")).splitlines()
    haproxy.close()
    place = lines[0].removeprefix("# ").split(",").index("status")
    found: dict[str, set[str]] = {}
    for backend, server, *rest in (line.split(",") for line in lines[1:] if line):
        found.setdefault(backend, set()).update({server} if rest[place - 2].startswith(("UP", "no check")) else ())
    return found


def test_no_request_fails_while_matches_a_sticky_header_and_marks_come_and_go(alone: World) -> None:
    gateway = alone.gateway
    asked = counting_client.Settings(
        url=gateway.url,
        model="digits",
        bodies=(b"{}",),
        connections=8,
        rate_limit=request_counts.limit(500.0),
        timeout_s=60,
        headers=(("x-user", "ada"),),
    )
    matched = asked.model_copy(
        update={"headers": (("x-0", "1"),), "connections": 2, "rate_limit": request_counts.limit(100.0)}
    )
    with counting_client.background(asked) as load, counting_client.background(matched) as other:
        for turn in range(12 if request_counts.are_whole() else 6):
            seen = load.progress().requests
            alone.apply(
                candidateWeight=turn * 800,
                match=[{"header": f"x-{turn % 3}", "value": "1"}],
                sticky={"header": "x-user"},
                shadow=turn * 800,
            )
            load.wait_until(lambda progress, seen=seen: progress.requests >= seen + 200, timeout_s=200)
            alone.apply()
        reports = [load.stop(), other.stop()]

    for report in reports:
        assert report.failures == (), report.summary()
    assert gateway.metric("fairlead_gateway_haproxy_reloads_total") > 2
    assert json.loads((gateway.state_dir / "haproxy.json").read_text())["pid"] == gateway.master()
