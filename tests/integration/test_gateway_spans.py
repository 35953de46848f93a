"""The spans of a real gateway: one for each traced request, between that of its client and that of its replica."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.support import authorities, raw_server
from tests.support.free_ports import free_port
from tests.support.gateway_process import Answer, Gateway, Replicas, fetch, make_node, revision, spec
from tests.support.span_collector import Collector, attributes, collecting
from tests.support.until import until
from tests.unit.spans.test_trace_context import INVALID

from fairlead_spans import trace_context

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
PATH = "/v2/models/digits/infer"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
KEY = "team-a-key-0123456789"
HOLD = {"requests": 10, "seconds": 200, "parallel": 64, "idleSeconds": 1}
LATER = (
    f"01-{TRACE}-{SPAN}-01",
    f"cc-{TRACE}-{SPAN}-01-what-comes-later",
    f"cc-{TRACE}-{SPAN}-01-",
    f"f0-{TRACE}-{SPAN}-01",
    f"0f-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-ff",
    f"00-{TRACE}-{SPAN}-03",
    f"00-{TRACE}-{SPAN}-02",
)


class World:
    """A gateway that sends spans, the collector that takes them, and stand-ins for replicas."""

    def __init__(self, gateway: Gateway, replicas: Replicas, collector: Collector) -> None:
        self.gateway = gateway
        self.replicas = replicas
        self.collector = collector

    def ask(self, *headers: tuple[str, str], path: str = PATH) -> Answer:
        """One prediction, whose headers can repeat."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.gateway.data_port, timeout=250)) as client:
            client.putrequest("POST", path)
            for name, value in (*headers, ("content-length", "2")):
                client.putheader(name, value)
            client.endheaders(b"{}")
            answer = client.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read().decode())

    def spans_of(self, request_id: str) -> list[trace_pb2.Span]:
        spans = self.collector.spans()
        return [span for span in spans if attributes(span.attributes).get("fairlead.request_id") == request_id]

    def span_of(self, request_id: str) -> tuple[trace_pb2.Span, dict[str, Any]]:
        found = until(lambda: self.spans_of(request_id), f"the span of {request_id}", explain=self.collector.spans)
        assert len(found) == 1
        return found[0], attributes(found[0].attributes)


@contextmanager
def running(
    folder: Path, *arguments: str, percent: str = "0", url: str | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[World]:
    node = make_node(folder / "node")
    replicas = Replicas(node)
    with collecting(tls) as collector:
        flags = ("--traces-endpoint", url or collector.url, "--traces-sample-percent", percent)
        routes = ("--routes-file", str(folder / "gateway-routes.json"))
        gateway = Gateway(folder / "gateway", nodes=[node], arguments=(*routes, *flags, *arguments))
        try:
            gateway.start()
            yield World(gateway, replicas, collector)
        finally:
            gateway.stop()
            replicas.stop()


def serve(world: World) -> World:
    """With one replica of `digits`."""
    world.replicas.start("digits", A)
    world.gateway.apply(digits=spec(A, {A: revision()}))
    world.gateway.wait_up("digits", A)
    return world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("spans")) as made:
        yield serve(made)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Each request without a valid parent is traced, and there is an access log beside the spans."""
    with running(tmp_path_factory.mktemp("every"), "--access-log", percent="100") as made:
        yield serve(made)


def test_a_traced_request_has_a_span_between_its_client_and_its_replica(world: World) -> None:
    before_ns = time.time_ns()
    answer = world.ask(("x-request-id", "linked"), ("traceparent", SAMPLED), ("tracestate", "vendor=1"))
    after_ns = time.time_ns()

    own, found = world.span_of("linked")

    assert (own.trace_id.hex(), own.parent_span_id.hex(), own.name) == (TRACE, SPAN, "gateway")
    assert own.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert answer.json["headers"] == {
        "traceparent": f"00-{TRACE}-{own.span_id.hex()}-01",
        "tracestate": "vendor=1",
    }
    assert before_ns - 2_000_000 <= own.start_time_unix_nano < own.end_time_unix_nano <= after_ns + 50_000_000
    assert found.pop("http.request.size") > 0
    assert found.pop("http.response.size") > 0
    timers = {name: found.pop(name) for name in list(found) if name.endswith("_milliseconds")}
    assert set(timers) == {
        f"fairlead.{name}_milliseconds" for name in ("receive", "wait", "connect", "respond", "transfer")
    }
    assert found == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "url.path": PATH,
        "client.address": "127.0.0.1",
        "server.address": "127.0.0.1",
        "server.port": world.gateway.data_port,
        "fairlead.namespace": "default",
        "fairlead.model": "digits",
        "fairlead.revision": A,
        "fairlead.request_id": "linked",
        "fairlead.kind": "prediction",
        "fairlead.retries": 0,
        "fairlead.termination": "--",
        "fairlead.answered_by": "replica",
    }
    resource = world.collector.resource()
    assert resource["service.name"] == "fairlead-gateway"
    assert resource["service.instance.id"] == world.gateway.routes()["gateway"]


def test_a_request_that_is_not_traced_says_so_to_its_replica(world: World) -> None:
    kept = world.ask(("x-request-id", "unsampled"), ("traceparent", UNSAMPLED), ("tracestate", "vendor=1"))
    passed = [world.ask(("x-request-id", f"none-{number}")).json["headers"] for number in range(2)]
    world.ask(("x-request-id", "after"), ("traceparent", SAMPLED))
    world.span_of("after")

    assert kept.json["headers"] == {"traceparent": UNSAMPLED, "tracestate": "vendor=1"}
    parents = [trace_context.read_parent({b"traceparent": each["traceparent"].encode()}) for each in passed]
    assert [parent is not None and parent.is_sampled for parent in parents] == [False, False]
    assert None not in parents
    assert parents[0] != parents[1]
    assert not [each for name in ("unsampled", "none-0", "none-1") for each in world.spans_of(name)]


# A space at an end is no part of a header's value, a header has no second line, and 10,000 characters are too many.
READ = [value for value in INVALID if value == value.strip() and len(value) < 1000]


@pytest.mark.parametrize("value", [*READ, *LATER, SAMPLED, UNSAMPLED])
def test_haproxy_reads_a_parent_as_the_replica_does(world: World, value: str) -> None:
    parent = trace_context.read_parent({b"traceparent": value.encode()})
    answer = world.ask(("x-request-id", value[:100]), ("traceparent", value), ("tracestate", "vendor=1"))
    passed = answer.json["headers"]
    if parent is None:
        assert "tracestate" not in passed
        assert TRACE not in passed["traceparent"]
        assert passed["traceparent"].endswith("-00")
    elif parent.is_sampled:
        assert passed["traceparent"].startswith(f"00-{TRACE}-")
        assert passed["traceparent"].endswith("-03" if parent.flags & 2 else "-01")
        assert SPAN not in passed["traceparent"]
    else:
        assert passed == {"traceparent": value, "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", "nonsense"), ("tracestate", "vendor=1")],
        [("traceparent", SAMPLED), ("traceparent", SAMPLED)],
        [("traceparent", ""), ("tracestate", "vendor=1")],
        [("tracestate", "vendor=1")],
    ],
    ids=["none", "nonsense", "twice", "empty", "a state alone"],
)
def test_without_a_valid_parent_the_trace_begins_at_the_gateway(
    every: World, headers: Sequence[tuple[str, str]], request: pytest.FixtureRequest
) -> None:
    passed = every.ask(("x-request-id", request.node.name), *headers).json["headers"]
    own, _ = every.span_of(request.node.name)
    assert passed == {"traceparent": f"00-{own.trace_id.hex()}-{own.span_id.hex()}-01"}
    assert own.parent_span_id == b""
    assert own.trace_id.hex() != TRACE
    assert own.flags == 0x101


def test_two_requests_without_a_parent_are_two_traces(every: World) -> None:
    for name in ("one", "two"):
        every.ask(("x-request-id", name))
    (one, _), (two, _) = every.span_of("one"), every.span_of("two")
    assert one.trace_id != two.trace_id
    assert one.span_id != two.span_id


def test_a_share_of_the_requests_is_traced(tmp_path: Path) -> None:
    with running(tmp_path, percent="20") as made:
        serve(made)
        for number in range(400):
            fetch(f"{made.gateway.url}{PATH}", body=b"{}", headers={"x-request-id": f"n{number}"})
        made.ask(("x-request-id", "last"), ("traceparent", SAMPLED))
        made.span_of("last")
        # Within six standard deviations of 80.
        assert 32 <= len(made.collector.spans()) - 1 <= 128


def test_what_the_gateway_refuses_has_a_span_that_says_so(world: World) -> None:
    answer = world.ask(("x-request-id", "missing"), ("traceparent", SAMPLED), path="/v2/models/cats/infer")
    own, found = world.span_of("missing")
    assert (answer.status, found["http.response.status_code"]) == (404, 404)
    assert found["fairlead.answered_by"] == "gateway"
    assert (own.trace_id.hex(), own.parent_span_id.hex()) == (TRACE, SPAN)
    assert "fairlead.model" not in found
    assert own.status.code == trace_pb2.Status.STATUS_CODE_UNSET


def test_a_request_without_a_replica_has_a_span_with_an_error(world: World) -> None:
    world.gateway.apply(empty=spec(B, {B: revision()}))
    answer = world.ask(("x-request-id", "empty"), ("traceparent", SAMPLED), path="/v2/models/empty/infer")
    own, found = world.span_of("empty")
    assert (answer.status, found["http.response.status_code"], found["error.type"]) == (503, 503, "503")
    assert (found["fairlead.answered_by"], found["fairlead.model"]) == ("gateway", "empty")
    assert own.status.code == trace_pb2.Status.STATUS_CODE_ERROR


def test_who_is_refused_without_a_key_or_for_a_limit_has_a_span(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "team-a").write_text(KEY)
    internal = free_port()
    limits = ("--api-keys", str(keys), "--internal-port", str(internal), "--rate-limit", "1")
    with running(tmp_path, *limits) as made:
        serve(made)
        # The last of these is refused, whatever was let through before.
        statuses = []
        for number in range(20):
            sent = [("x-request-id", f"keyed-{number}"), ("traceparent", SAMPLED), ("x-api-key", KEY)]
            statuses.append(made.ask(*sent).status)
            if statuses[-1] == 429:
                break
        assert made.ask(("x-request-id", "unknown"), ("traceparent", SAMPLED)).status == 401
        _, unknown = made.span_of("unknown")
        own, limited = made.span_of(f"keyed-{len(statuses) - 1}")
        assert (unknown["http.response.status_code"], limited["http.response.status_code"]) == (401, 429)
        assert {unknown["fairlead.answered_by"], limited["fairlead.answered_by"]} == {"gateway"}
        assert own.parent_span_id.hex() == SPAN
        assert KEY not in str(made.collector.exports)


def test_a_call_of_grpc_has_one_span(world: World) -> None:
    method = "/inference.GRPCInferenceService/ModelInfer"
    sent = [("x-request-id", "call"), ("traceparent", SAMPLED)]
    with grpc.insecure_channel(f"127.0.0.1:{world.gateway.data_port}") as channel:
        call = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError):  # the stand-in for a replica does not answer by gRPC
            call(b"\x0a\x06digits", metadata=sent, timeout=60)
    own, found = world.span_of("call")
    assert (own.trace_id.hex(), own.parent_span_id.hex()) == (TRACE, SPAN)
    assert (found["rpc.system.name"], found["rpc.method"]) == ("grpc", method[1:])
    assert (found["url.path"], found["fairlead.model"]) == (method, "digits")
    assert (found["server.address"], found["server.port"]) == ("127.0.0.1", world.gateway.data_port)


def test_health_checks_have_no_span_and_other_questions_to_the_gateway_have_one(every: World) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{every.gateway.data_port}") as channel:
        for method in ("/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ServerMetadata"):
            sent = [("x-request-id", method), ("traceparent", SAMPLED)]
            channel.unary_unary(method)(b"", metadata=sent, timeout=60)
    health = {"x-request-id": "health", "traceparent": SAMPLED}
    assert fetch(f"{every.gateway.url}/v2/health/ready", headers=health).status == 200
    _, found = every.span_of("/inference.GRPCInferenceService/ServerMetadata")
    assert (found["fairlead.kind"], found["url.path"]) == ("gateway", "/inference.GRPCInferenceService/ServerMetadata")
    assert not every.spans_of("health")
    assert not every.spans_of("/grpc.health.v1.Health/Check")


def test_what_a_client_sends_is_data_in_its_span(every: World) -> None:
    hostile = '"}/-/ t/1 é\xa0'
    sent = [("x-request-id", hostile.encode().decode("latin-1")), ("host", "-_x.example:80")]
    connection = http.client.HTTPConnection("127.0.0.1", every.gateway.data_port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest("POST", f"/v2/models/digits/{'y' * 3000}?secret=1", skip_host=True)
        for name, value in (*sent, ("content-length", "0")):
            connection.putheader(name, value)
        connection.endheaders()
        assert connection.getresponse().status == 200
    _, found = every.span_of(hostile)
    assert (found["server.address"], found["server.port"]) == ("-_x.example", 80)
    assert found["url.path"] == f"/v2/models/digits/{'y' * 3000}"[:256]
    assert "secret" not in str(every.collector.exports)
    assert every.gateway.metric("fairlead_gateway_unreadable_log_lines_total") == 0


def test_a_client_that_leaves_before_the_answer_has_a_span(world: World) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\nx-delay-s: 60\r\nx-request-id: left\r\ntraceparent: {SAMPLED}\r\n"
    served = world.gateway.metric("fairlead_gateway_requests_total", code="499")
    with socket.create_connection(("127.0.0.1", world.gateway.data_port), timeout=60) as client:
        client.sendall(f"{head}content-length: 2\r\n\r\n{{}}".encode())
        world.ask(("x-request-id", "beside"), ("traceparent", SAMPLED))
    _, found = world.span_of("left")
    assert (found["http.response.status_code"], found["fairlead.answered_by"]) == (499, "gateway")
    assert world.gateway.metric("fairlead_gateway_requests_total", code="499") == served + 1


def test_a_held_request_has_one_span_that_begins_before_its_hold_also_after_a_reload(tmp_path: Path) -> None:
    with running(tmp_path) as made, ThreadPoolExecutor(1) as pool:
        made.gateway.apply(digits=spec(A, {A: revision()}, hold=HOLD))
        began_ns = time.time_ns()
        asked = pool.submit(made.ask, ("x-request-id", "held"), ("traceparent", SAMPLED), ("tracestate", "vendor=1"))
        until(
            lambda: made.gateway.routes()["routes"]["digits"]["hold"]["waiting"] == 1,
            "it is held",
            explain=made.gateway.routes,
        )
        held_ns = time.time_ns()
        # Another header is asked for: a reload, whose new worker gets what the old one holds.
        match = [{"header": "x-team", "value": "blue"}]
        made.gateway.apply(digits=spec(A, {A: revision(), B: revision()}, candidate=B, match=match, hold=HOLD))
        made.replicas.start("digits", A)
        passed = asked.result().json["headers"]
        own, found = made.span_of("held")
        ended_ns = time.time_ns()
        counted = made.gateway.metric("fairlead_gateway_requests_total", model="digits")
    assert (own.trace_id.hex(), own.parent_span_id.hex()) == (TRACE, SPAN)
    assert passed == {"traceparent": f"00-{TRACE}-{own.span_id.hex()}-01", "tracestate": "vendor=1"}
    assert began_ns - 2_000_000 <= own.start_time_unix_nano < held_ns
    assert found["fairlead.held_milliseconds"] * 1_000_000 < ended_ns - began_ns
    assert found["fairlead.held_milliseconds"] > 0
    assert counted == 1


def test_a_request_that_nobody_took_in_time_has_the_time_of_its_hold(tmp_path: Path) -> None:
    with running(tmp_path) as made:
        made.gateway.apply(digits=spec(A, {A: revision()}, hold={**HOLD, "seconds": 1}))
        assert made.ask(("x-request-id", "late"), ("traceparent", SAMPLED)).status == 503
        own, found = made.span_of("late")
    assert found["fairlead.held_milliseconds"] >= 1000
    assert own.end_time_unix_nano - own.start_time_unix_nano >= 1_000_000_000
    assert found["fairlead.answered_by"] == "gateway"


def test_the_access_log_and_the_span_have_the_same_request(every: World) -> None:
    every.ask(("x-request-id", "both"), path="/v2/models/digits/infer?x=1")
    _, found = every.span_of("both")
    text = (every.gateway.state_dir / "agent.log").read_text()
    (line,) = [each for each in text.splitlines() if '"requestId":"both"' in each]
    assert f'"path":"{found["url.path"]}"' in line
    assert every.gateway.metric("fairlead_gateway_unreadable_log_lines_total") == 0


def test_a_collector_that_never_answers_holds_up_no_request_and_what_it_does_not_take_is_counted(
    tmp_path: Path,
) -> None:
    with (
        raw_server.serving(lambda connection: connection.stopped.wait()) as silent,
        running(tmp_path, percent="100", url=silent.url) as made,
    ):
        serve(made)
        url = f"{made.gateway.url}{PATH}"
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda _: fetch(url, body=b"{}").status, range(2600)))
        assert statuses == {200}
        until(lambda: made.gateway.metric("fairlead_gateway_spans_total", outcome="dropped") > 0, "some are dropped")
        assert made.gateway.metric("fairlead_gateway_spans_total", outcome="sent") == 0
        counted = "fairlead_gateway_requests_total"
        until(lambda: made.gateway.metric(counted, code="200") == 2600, "all requests are counted")


def test_a_collector_with_an_authority_of_ones_own_gets_spans(tmp_path: Path) -> None:
    authority = authorities.make(tmp_path)
    flags = ("--traces-ca-file", str(authority.file))
    with running(tmp_path, *flags, tls=authority.server(tmp_path)) as made:
        serve(made)
        made.ask(("x-request-id", "secured"), ("traceparent", SAMPLED))
        own, _ = made.span_of("secured")
    assert own.parent_span_id.hex() == SPAN


def test_a_collector_that_is_not_trusted_costs_its_spans_and_no_prediction(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    authority, other = authorities.make(tmp_path), authorities.make(tmp_path / "other")
    flags = ("--traces-ca-file", str(other.file))
    with running(tmp_path, *flags, percent="100", tls=authority.server(tmp_path)) as made:
        serve(made)
        for count in range(1, 4):
            assert made.ask().status == 200
            until(
                lambda count=count: made.gateway.metric("fairlead_gateway_spans_total", outcome="failed") == count,
                "the span is counted",
            )
        log = (made.gateway.state_dir / "agent.log").read_text()
        assert made.collector.paths == []
    assert log.count("spans could not be sent") == 1
    assert "its certificate is not trusted ('unable to get local issuer certificate')" in log
