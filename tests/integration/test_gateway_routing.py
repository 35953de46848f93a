"""The gateway answers, refuses and splits as its table says: real agent, real HAProxy, stand-ins for replicas."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support import counting_client, request_counts
from tests.support.gateway_process import (
    Gateway,
    Replicas,
    fetch,
    gateway_and_replicas,
    retired,
    revision,
    spec,
)
from tests.support.odd_replica import answer, odd_replica
from tests.support.until import until

pytestmark = pytest.mark.real

A, B, C = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"
MANY = request_counts.at_least(10_000)


class World:
    """A gateway with one model that has a stable revision and a candidate, one replica each."""

    def __init__(self, gateway: Gateway, replicas: Replicas) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self.revisions = {A: revision(aliases=("1",)), B: revision(aliases=("2", "v2"))}
        for name in (A, B):
            replicas.start("digits", name)
        gateway.apply(digits=spec(A, self.revisions, candidate=B))
        for name in (A, B):
            gateway.wait_up("digits", name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with gateway_and_replicas(tmp_path_factory.mktemp("routing")) as (gateway, replicas):
        yield World(gateway, replicas)


@pytest.mark.parametrize(
    "weight", [pytest.param(100, id="one percent"), pytest.param(2500, id="a quarter"), pytest.param(10_000, id="all")]
)
async def test_the_candidate_gets_exactly_its_share(world: World, weight: int) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, candidate=B, candidateWeight=weight))

    report = await counting_client.run(
        counting_client.Settings(url=world.gateway.url, model="digits", bodies=(b"{}",), requests=MANY, connections=8)
    )

    assert report.failures == ()
    assert abs(report.revisions[B].count - MANY * weight / 10_000) <= 1
    assert sum(each.count for each in report.revisions.values()) == MANY


async def test_pinned_requests_take_no_part_in_the_split(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, candidate=B, candidateWeight=2500))
    asked = counting_client.Settings(url=world.gateway.url, model="digits", bodies=(b"{}",), requests=1000)
    pinned = asked.model_copy(update={"headers": (("x-fairlead-revision", B),)})

    first = await counting_client.run(asked)
    report = await counting_client.run(pinned)
    second = await counting_client.run(asked)

    assert report.revisions[B].count == 1000
    assert abs(first.revisions[B].count + second.revisions[B].count - 500) <= 2


@pytest.mark.parametrize(
    ("path", "seen_path", "expected"),
    [
        pytest.param("/v2/models/digits/infer", "/v2/models/digits/infer", A, id="stable"),
        pytest.param("/v2/models/digits", "/v2/models/digits", A, id="metadata"),
        pytest.param("/v2/models/digits/versions/2/infer", "/v2/models/digits/versions/2/infer", B, id="by number"),
        pytest.param("/v2/models/digits/versions/v2/infer", "/v2/models/digits/versions/v2/infer", B, id="by alias"),
        pytest.param(f"/v2/models/digits/versions/{B}/ready", f"/v2/models/digits/versions/{B}/ready", B, id="by name"),
        pytest.param("/v1/models/digits:predict", "/v1/models/digits:predict", A, id="v1"),
        pytest.param("/v1/models/digits/versions/2:predict", "/v1/models/digits/versions/2:predict", B, id="v1 number"),
        pytest.param("/v1/models/digits/labels/candidate:predict", "/v1/models/digits:predict", B, id="v1 role"),
        pytest.param("/v1/models/digits/labels/stable/metadata", "/v1/models/digits/metadata", A, id="v1 role, more"),
    ],
)
def test_a_path_selects_the_revision_that_it_names(world: World, path: str, seen_path: str, expected: str) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, candidate=B))

    answer = fetch(world.gateway.url + path)

    assert (answer.status, answer.headers["x-fairlead-revision"]) == (200, expected)
    assert answer.json["path"] == seen_path


@pytest.mark.parametrize(
    ("path", "headers", "status", "words"),
    [
        ("/v2/models/cats/infer", {}, 404, "model not found: cats"),
        ("/v1/models/cats:predict", {}, 404, "model not found: cats"),
        ("/v2/models/%22x/infer", {}, 400, "percent-encoded"),
        ("/v2/models/digits/versions/7/infer", {}, 404, "model digits has no version 7"),
        ("/v1/models/digits/labels/blue:predict", {}, 404, "model digits has no version blue"),
        ("/v2/models/digits/infer", {"x-fairlead-revision": "cccccccccc"}, 404, "no version cccccccccc"),
        ("/v2/models/digits/infer", {"x-fairlead-revision": 'x"y'}, 404, 'no version x"y'),
        ("/elsewhere", {}, 404, "no such path: /elsewhere"),
        ("/-/healthz/aaaaaaaaaa", {}, 404, "no such path"),
    ],
)
def test_a_request_without_a_route_is_refused_with_a_reason(
    world: World, path: str, headers: dict[str, str], status: int, words: str
) -> None:
    answer = fetch(world.gateway.url + path, headers=headers)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert words in answer.json["error"]
    assert "x-fairlead-revision" not in answer.headers


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"x-long: {'x' * 100_000}\r\n", id="one of 100,000 bytes"),
        pytest.param(f"x-long: {'x' * 1_000_000}\r\n", id="one of 1,000,000 bytes"),
        pytest.param("".join(f"x-{number}: 1\r\n" for number in range(200)), id="200 of them"),
    ],
)
def test_too_large_headers_are_refused_with_an_answer(world: World, head: str) -> None:
    world.gateway.apply(digits=spec(A, world.revisions))
    asked = urlsplit(world.gateway.url)
    with socket.create_connection((asked.hostname, asked.port), timeout=100) as client:
        client.sendall(f"GET /v2/models/digits HTTP/1.1\r\nhost: x\r\n{head}\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    # HAProxy 2.8 answers what it can't parse with a page of its own, whatever `errorfile` says.
    assert answer.startswith(b"HTTP/1.1 400 Bad request\r\n")
    assert answer.rstrip().endswith(b"Your browser sent an invalid request.\n</body></html>")
    assert fetch(f"{world.gateway.url}/v2/models/digits").status == 200


def test_a_body_above_the_limit_is_refused_before_a_replica_sees_it(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, maxRequestBytes=1000))

    at_limit = fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"x" * 1000)
    above = fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"x" * 1001)

    assert (at_limit.status, at_limit.json["received"]) == (200, 1000)
    assert (above.status, above.json["error"]) == (413, "model digits accepts at most 1000 bytes in a request")


def test_a_missing_body_gets_408_and_occupies_no_replica(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions))
    with socket.create_connection(("127.0.0.1", world.gateway.data_port), timeout=100) as slow:
        slow.sendall(b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome")
        until(lambda: fetch(f"{world.gateway.url}/v2/health/live").status == 200, "others are answered")
        assert world.gateway.routes()["routes"]["digits"]["revisions"][A]["sessions"] == 0
        answer = b"".join(iter(lambda: slow.recv(65536), b"")).decode()

    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408")
    assert json.loads(body) == {"error": "the request did not arrive in time"}


def test_a_replica_that_takes_too_long_gives_504_in_json(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, requestTimeoutSeconds=0.2))

    answer = fetch(f"{world.gateway.url}/v2/models/digits/infer", headers={"x-delay-s": "5"})

    assert answer.status == 504
    assert "requestTimeoutSeconds" in answer.json["error"]


def test_a_model_without_a_stable_revision_takes_only_pinned_requests(world: World) -> None:
    world.gateway.apply(digits=spec(None, world.revisions))

    unpinned = fetch(f"{world.gateway.url}/v2/models/digits/infer")
    pinned = fetch(f"{world.gateway.url}/v2/models/digits/infer", headers={"x-fairlead-revision": B})

    assert (unpinned.status, unpinned.headers["retry-after"]) == (503, "2")
    assert unpinned.json["error"] == "model digits has no stable revision yet"
    assert (pinned.status, pinned.headers["x-fairlead-revision"]) == (200, B)


def test_a_request_id_is_passed_through_or_made(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions))
    url = f"{world.gateway.url}/v2/models/digits/infer"

    assert fetch(url, headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {fetch(url).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert len(fetch(url, headers={"x-request-id": "x" * 200}).headers["x-request-id"]) == 36


def test_a_trace_context_reaches_the_replica_as_it_was(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions))
    context = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
    assert fetch(f"{world.gateway.url}/v2/models/digits/infer", headers=context).json["headers"] == context


def test_the_index_lists_each_revision_and_whether_it_has_a_replica(world: World) -> None:
    world.gateway.apply(digits=spec(A, {**world.revisions, C: revision()}))
    url = f"{world.gateway.url}/v2/repository/index"

    listed = fetch(url, body=b"{}")
    assert {each["version"]: (each["name"], each["state"], each["reason"]) for each in listed.json} == {
        "1": ("digits", "READY", ""),
        "2": ("digits", "READY", ""),
        C: ("digits", "UNAVAILABLE", "no replica is ready"),
    }
    assert {each["version"] for each in fetch(url, body=b'{"ready": true}').json} == {"1", "2"}
    refused = {body: fetch(url, body=body) for body in (b'{"ready": 1}', b" " * 4097)}
    assert [(each.status, each.json["error"]) for each in refused.values()] == [
        (400, "ready must be true or false"),
        (413, "a request to the gateway itself may have at most 4096 bytes"),
    ]
    assert (fetch(url).status, fetch(url).headers["allow"]) == (405, "POST")


def test_an_invalid_route_keeps_the_last_valid_one_and_does_not_block_other_models(world: World) -> None:
    good = spec(A, world.revisions)
    world.gateway.apply(digits=good)
    other = spec(B, {B: world.revisions[B]})

    world.gateway.route(digits={**good, "candidateWeight": 20_000}, other=other)
    until(lambda: world.gateway.live().get("other") == other["version"], "the other model's route")

    assert world.gateway.live()["digits"] == good["version"]
    assert "candidateWeight" in world.gateway.routes()["errors"]["digits"]
    assert world.gateway.metric("fairlead_gateway_route_error", model="digits") == 1
    assert fetch(f"{world.gateway.url}/v2/models/digits/infer").status == 200
    world.gateway.apply(digits=good)


def test_a_retired_model_gives_404_and_a_model_with_a_deleted_route_keeps_serving(world: World) -> None:
    one, other = spec(A, {A: world.revisions[A]}), spec(B, {B: world.revisions[B]})
    world.replicas.start("other", B)
    world.gateway.apply(digits=one, other=other)
    world.gateway.wait_up("other", B)
    url = f"{world.gateway.url}/v2/models"

    world.gateway.apply(digits=one)
    assert world.gateway.live()["other"] == other["version"]
    assert fetch(f"{url}/other").status == 200

    mark = retired()
    world.gateway.apply(digits=one, other=mark)
    assert world.gateway.routes()["routes"]["other"] == {"version": mark["version"], "retired": True, "revisions": {}}
    assert [fetch(f"{url}/{model}").status for model in ("other", "digits")] == [404, 200]

    world.gateway.apply(digits=one)
    until(lambda: "other" not in world.gateway.routes()["routes"], "the mark is forgotten with its object")


async def test_requests_are_counted_by_model_revision_and_code(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions))
    world.gateway.wait_up("digits", A)
    name, labels = "fairlead_gateway_requests_total", {"model": "digits", "revision": A, "code": "200"}
    before = world.gateway.metric(name, **labels)

    await counting_client.run(
        counting_client.Settings(url=world.gateway.url, model="digits", bodies=(b"{}",), requests=2000)
    )

    until(lambda: world.gateway.metric(name, **labels) == before + 2000, "2,000 more requests counted")
    count = world.gateway.metric("fairlead_gateway_request_duration_seconds_count", model="digits", revision=A)
    assert count >= before + 2000
    assert world.gateway.metric("fairlead_gateway_unreadable_log_lines_total") == 0


async def test_measurements_count_the_answers_to_clients_for_each_revision(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, candidate=B, candidateWeight=2500))
    before = world.gateway.measurements("digits")

    report = await counting_client.run(
        counting_client.Settings(url=world.gateway.url, model="digits", bodies=(b"{}",), requests=2000)
    )
    fetch(f"{world.gateway.url}/v2/models/digits/infer", headers={"x-fairlead-revision": "nowhere"})

    def grown(name: str) -> int:
        counts = (each["revisions"][name]["requests"] for each in (world.gateway.measurements("digits"), before))
        after, start = counts
        return int(after["total"] - start["total"])

    until(lambda: grown(A) + grown(B) >= 2000, "2,000 more requests measured")
    assert {name: grown(name) for name in (A, B)} == {name: report.revisions[name].count for name in (A, B)}
    after = world.gateway.measurements("digits")
    assert after["epoch"] == before["epoch"]
    for name in (A, B):
        found = after["revisions"][name]
        assert sum(found["durations"]["counts"]) == found["requests"]["total"]


def test_requests_for_metadata_are_counted_apart_from_what_an_analysis_judges(world: World) -> None:
    world.gateway.apply(digits=spec(A, world.revisions, candidate=B))
    url = world.gateway.url
    paths = (
        "v2/models/digits",
        "v2/models/digits/ready",
        "v2/models/digits/versions/1/stats",
        "v1/models/digits/metadata",
    )

    def counted(name: str) -> float:
        return world.gateway.metric(f"fairlead_gateway_{name}_total", model="digits", revision=A, code="200")

    # What earlier tests sent is counted in its order: once this prediction is, all of theirs is.
    seen = counted("requests")
    assert fetch(f"{url}/v2/models/digits/infer", body=b"{}").status == 200
    until(lambda: counted("requests") > seen, "earlier requests are counted")
    before, apart = world.gateway.measurements("digits")["revisions"][A], counted("metadata_requests")

    assert {fetch(f"{url}/{path}").headers["x-fairlead-revision"] for path in paths} == {A}

    until(lambda: counted("metadata_requests") == apart + 4, "four requests are counted apart")
    assert world.gateway.measurements("digits")["revisions"][A]["requests"] == before["requests"]


def test_a_model_without_a_route_has_no_measurements(world: World) -> None:
    answer = world.gateway.admin("/v1/measurements/cats")

    assert answer is not None
    assert (answer.status, answer.json["error"]) == (404, "this gateway has no route for a model 'cats'")


def test_a_504_and_a_503_of_the_gateway_count_for_the_revision_that_was_chosen(world: World) -> None:
    gone = "cccccccccc"
    world.gateway.apply(
        digits=spec(A, {**world.revisions, gone: revision()}, requestTimeoutSeconds=0.2),
    )

    def errors(name: str) -> int:
        return int(world.gateway.measurements("digits")["revisions"][name]["requests"]["serverErrors"])

    before = errors(A)
    late = fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"{}", headers={"x-delay-s": "5"})
    none = fetch(f"{world.gateway.url}/v2/models/digits/infer", body=b"{}", headers={"x-fairlead-revision": gone})

    assert (late.status, none.status) == (504, 503)
    until(lambda: (errors(A) - before, errors(gone)) == (1, 1), "each has one error more")


def test_unknown_model_names_create_no_series(world: World) -> None:
    for number in range(5):
        fetch(f"{world.gateway.url}/v2/models/made-up-{number}/infer")

    def counted() -> bool:
        return world.gateway.metric("fairlead_gateway_requests_total", model="", code="404") >= 5

    until(counted, "the refusals are counted")
    answer = world.gateway.admin("/metrics")
    assert answer is not None
    assert "made-up" not in answer.text


def test_an_answer_of_the_admin_port_is_json(world: World) -> None:
    health = world.gateway.admin("/healthz")
    assert health is not None
    assert json.loads(health.text) == {"status": "ok"}


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Gateway, Replicas]]:
    with gateway_and_replicas(tmp_path) as pair:
        yield pair


def test_a_replica_on_a_reused_port_does_not_answer_for_the_previous_one(
    alone: tuple[Gateway, Replicas], tmp_path: Path
) -> None:
    """The directory is away, so the gateway knows the old name at the port: two requests meet what lives there now."""
    gateway, replicas = alone
    right = replicas.start("digits", A)
    gateway.apply(digits=spec(A, {A: revision()}))
    gateway.wait_up("digits", A)
    right.kill()
    with odd_replica(lambda _: answer(status="425 Too Early"), right.port) as other:
        refused = fetch(f"{gateway.url}/v2/models/digits/infer", body=b"{}")
        assert (refused.status, "no ready replica" in refused.json["error"]) == (503, True)
        seen = [each for each in other.requests if b"POST" in each]
        assert all(f"x-fairlead-replica: {right.name}".encode() in each for each in seen)


def test_the_gateway_is_ready_only_after_its_places_were_checked(alone: tuple[Gateway, Replicas]) -> None:
    gateway, replicas = alone

    def answers() -> bool:
        return gateway.admin("/healthz") is not None

    until(answers, "the admin port answers")
    gateway.stop()
    gateway.state_dir.joinpath("table.json").unlink(missing_ok=True)
    gateway.route()
    # No table is known and the source can't be read: that is not the empty table.
    gateway.state_dir.with_name("gateway-routes.json").write_text("{")
    replicas.start("digits", A)
    gateway.start()
    until(answers, "the admin port answers")
    assert not gateway.is_ready()

    gateway.apply(digits=spec(A, {A: revision()}))
    until(gateway.is_ready, "ready")

    assert fetch(f"{gateway.url}/v2/models/digits/infer").status == 200
    until(lambda: fetch(f"{gateway.url}/v2/health/ready").status == 200, "the data port says so too")
