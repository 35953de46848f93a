"""The access log of a real gateway: a line for each request of a client, by HTTP and gRPC, whatever it sends."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.support.gateway_process import Gateway, Replicas, fetch, make_node, revision, spec
from tests.support.until import until

pytestmark = pytest.mark.real

A = "aaaaaaaaaa"
PATH = "/v2/models/digits/infer"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    node = make_node(tmp_path / "node")
    routes = ("--routes-file", str(tmp_path / "gateway-routes.json"), "--access-log")
    made, replicas = Gateway(tmp_path / "gateway", nodes=[node], arguments=routes), Replicas(node)
    try:
        made.start()
        replicas.start("digits", A)
        made.apply(digits=spec(A, {A: revision()}))
        made.wait_up("digits", A)
        yield made
    finally:
        made.stop()
        replicas.stop()


def lines(gateway: Gateway) -> list[dict[str, Any]]:
    """The gateway's own log is in the same file."""
    text = (gateway.state_dir / "agent.log").read_text()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def line_of(gateway: Gateway, request_id: str) -> dict[str, Any]:
    found = until(
        lambda: [each for each in lines(gateway) if each["requestId"] == request_id],
        f"the line of {request_id}",
        explain=lambda: lines(gateway),
    )
    assert len(found) == 1
    return found[0]


def test_each_request_has_one_line_with_what_the_client_got(gateway: Gateway) -> None:
    body = b'{"inputs": [{"name": "x", "data": ["secret"]}]}'
    answer = fetch(f"{gateway.url}{PATH}?key=secret", body=body, headers={"x-request-id": "first"})
    missing = fetch(f"{gateway.url}/v2/models/cats/infer", body=b"{}", headers={"x-request-id": "second"})
    assert (answer.status, missing.status) == (200, 404)

    served, refused = line_of(gateway, "first"), line_of(gateway, "second")

    assert (served["code"], served["model"], served["revision"], served["path"]) == (200, "digits", A, PATH)
    assert (served["method"], served["protocol"], served["address"]) == ("POST", "http", "127.0.0.1")
    assert served["sentBytes"] > 0
    assert (refused["code"], refused["model"], refused["revision"]) == (404, None, None)
    assert "secret" not in (gateway.state_dir / "agent.log").read_text()


@pytest.mark.parametrize("request_id", [b'"}{"code":1', b"a b\tc", b"x" * 128, b"\xc3\xa9\xff"], ids=repr)
def test_a_hostile_request_id_is_data_in_its_line(gateway: Gateway, request_id: bytes) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.data_port, timeout=60)) as connection:
        connection.request("GET", f"/v2/models/{'y' * 3000}", headers={"x-request-id": request_id})
        assert connection.getresponse().status == 404

    line = line_of(gateway, request_id.decode(errors="replace"))

    assert line["path"].startswith("/v2/models/yyy")
    assert gateway.metric("fairlead_gateway_unreadable_log_lines_total") == 0


@pytest.mark.parametrize("request_id", ["ok, " + "y" * 1000, "z" * 2000])
def test_a_request_id_that_is_too_long_is_replaced_and_its_request_is_counted(
    gateway: Gateway, request_id: str
) -> None:
    answer = fetch(f"{gateway.url}{PATH}", body=b"{}", headers={"x-request-id": request_id})

    line = line_of(gateway, answer.headers["x-request-id"])

    assert (line["code"], line["path"]) == (200, PATH)
    assert len(line["requestId"]) <= 128
    assert gateway.metric("fairlead_gateway_requests_total") == 1
    assert gateway.metric("fairlead_gateway_unreadable_log_lines_total") == 0


def test_who_calls_itself_a_copy_has_a_line_all_the_same(gateway: Gateway) -> None:
    mark = {"x-fairlead-shadow-copy": "x", "x-fairlead-revision": A, "x-request-id": "copy"}
    fetch(f"{gateway.url}{PATH}", body=b"{}", headers=mark)
    assert line_of(gateway, "copy")["kind"] == "copy"


def test_a_call_of_grpc_has_one_line_with_its_method(gateway: Gateway) -> None:
    method = "/inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(f"127.0.0.1:{gateway.data_port}") as channel:
        call = channel.unary_unary(method)
        with pytest.raises(grpc.RpcError):  # the stand-in for a replica does not answer by gRPC
            call(b"\x0a\x06digits", metadata=[("x-request-id", "by-grpc")], timeout=60)

    line = line_of(gateway, "by-grpc")

    assert (line["protocol"], line["method"], line["path"]) == ("grpc", "POST", method)
    assert (line["model"], line["revision"], line["address"]) == ("digits", A, "127.0.0.1")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("/grpc.health.v1.Health/Check", b""),
        ("/inference.GRPCInferenceService/ServerLive", b""),
        ("/inference.GRPCInferenceService/ServerReady", b""),
        ("/inference.GRPCInferenceService/ServerMetadata", b""),
        ("/inference.GRPCInferenceService/RepositoryIndex", b""),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\x3a\x01*"),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", b"\x3a\x01*"),
    ],
)
def test_a_call_about_the_gateway_has_one_line_and_counts_as_no_prediction(
    gateway: Gateway, method: str, message: bytes
) -> None:
    metadata = [("x-request-id", "own")]
    with grpc.insecure_channel(f"127.0.0.1:{gateway.data_port}") as channel:
        if "Reflection" in method:
            list(channel.stream_stream(method)(iter([message]), metadata=metadata, timeout=60))
        else:
            channel.unary_unary(method)(message, metadata=metadata, timeout=60)

    line = line_of(gateway, "own")

    assert (line["protocol"], line["method"], line["path"], line["code"]) == ("grpc", "POST", method, 200)
    assert (line["kind"], line["model"], line["revision"]) == ("gateway", None, None)
    assert (line["address"], line["termination"]) == ("127.0.0.1", "--")
    assert gateway.metric("fairlead_gateway_own_requests_total", code="200", model="") == 1
    assert gateway.metric("fairlead_gateway_requests_total") == 0


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2", "/v2/repository/index"])
def test_a_request_about_the_gateway_counts_as_no_prediction(gateway: Gateway, path: str) -> None:
    body = b"{}" if path.endswith("index") else None
    answer = fetch(f"{gateway.url}{path}", body=body, headers={"x-request-id": "own"})
    # The gateway may not have said yet that it is ready.
    assert answer.status == 200 or path == "/v2/health/ready"
    line = line_of(gateway, "own")
    assert (line["protocol"], line["path"], line["kind"], line["code"]) == ("http", path, "gateway", answer.status)
    assert gateway.metric("fairlead_gateway_own_requests_total", code=str(answer.status), model="") == 1
    assert gateway.metric("fairlead_gateway_requests_total") == 0


def test_a_refused_call_about_the_gateway_has_its_code(gateway: Gateway) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{gateway.data_port}") as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\x0a\x04none", metadata=[("x-request-id", "own")], timeout=60)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    line = line_of(gateway, "own")
    assert (line["kind"], line["code"]) == ("gateway", 404)


def test_the_lines_are_as_many_as_the_requests_that_are_counted(gateway: Gateway) -> None:
    for number in range(50):
        assert fetch(f"{gateway.url}{PATH}", body=b"{}", headers={"x-request-id": f"n{number}"}).status == 200
    until(lambda: len(lines(gateway)) == 50, "all lines", explain=lambda: lines(gateway))
    assert gateway.metric("fairlead_gateway_requests_total") == 50
    assert gateway.metric("fairlead_gateway_dropped_access_log_lines_total") == 0
    assert {each["requestId"] for each in lines(gateway)} == {f"n{number}" for number in range(50)}
