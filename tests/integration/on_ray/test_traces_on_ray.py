"""One trace through a real gateway and a replica on a real Ray: the spans of both, below that of the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.trace.v1 import trace_pb2
from tests.support import ray_nodes
from tests.support.gateway_process import Gateway, fetch, revision, spec
from tests.support.replica_parts import wait_until
from tests.support.served_on_ray import START_S, Ray, application
from tests.support.span_collector import Collector, attributes, collecting

from fairlead_runtime.protocols.grpc.v2_messages import MESSAGES

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

PARTS = ["parse", "queue", "compute", "encode"]
CLIENT = "00f067aa0ba902b7"


@pytest.fixture
def traced(small: Ray, tmp_path: Path) -> Iterator[tuple[Gateway, Collector]]:
    """A model whose replica and whose gateway send spans to one collector."""
    app = application(small, "dense")
    name = app["args"]["config"]["revision"]
    with collecting() as collector:
        variables = {"FAIRLEAD_TRACES_ENDPOINT": collector.url, "FAIRLEAD_TRACES_SAMPLE_PERCENT": "100"}
        app["deployments"][0]["ray_actor_options"]["runtime_env"] = {"env_vars": variables}
        flags = ("--traces-endpoint", collector.url, "--traces-sample-percent", "0")
        routes = ("--routes-file", str(tmp_path / "gateway-routes.json"))
        gateway = Gateway(tmp_path / "gateway", nodes=ray_nodes.nodes(small.local), arguments=(*routes, *flags))
        gateway.start()
        try:
            small.put(app)
            wait_until(lambda: small.status(app["name"])[0] == "RUNNING", within_s=START_S)
            gateway.apply(dense=spec(name, {name: revision()}))
            gateway.wait_up("dense", name)
            yield gateway, collector
        finally:
            gateway.stop()
            small.put()
            wait_until(lambda: small.replicas(app) == [], within_s=200)


def spans_of(collector: Collector, trace: str, count: int) -> dict[str, trace_pb2.Span]:
    """The spans of a trace by their names, once there are so many."""

    def found() -> list[trace_pb2.Span]:
        return [span for span in collector.spans() if span.trace_id.hex() == trace]

    wait_until(lambda: len(found()) >= count, within_s=120)
    assert len(found()) == count
    return {span.name: span for span in found()}


def check_links(found: dict[str, trace_pb2.Span], operation: str) -> None:
    gateway, replica = found["gateway"], found[operation]
    assert gateway.parent_span_id.hex() == CLIENT
    assert replica.parent_span_id == gateway.span_id
    assert {found[part].parent_span_id for part in PARTS} == {replica.span_id}
    # A replica's span ends after it has written the answer, when the gateway may have sent it on.
    assert gateway.start_time_unix_nano <= replica.start_time_unix_nano < gateway.end_time_unix_nano
    ids = [attributes(span.attributes)["fairlead.request_id"] for span in (gateway, replica)]
    assert ids[0] == ids[1]


def test_the_spans_of_gateway_and_replica_are_below_that_of_the_client(traced: tuple[Gateway, Collector]) -> None:
    gateway, collector = traced
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor]}).encode()
    url = f"{gateway.url}/v2/models/dense/infer"
    assert fetch(url, body=body, headers={"traceparent": f"00-{trace}-{CLIENT}-01"}).status == 200
    found = spans_of(collector, trace, 6)
    check_links(found, "infer")
    services = {
        attribute.value.string_value
        for export in collector.exports
        for each in export.resource_spans
        for attribute in each.resource.attributes
        if attribute.key == "service.name"
    }
    assert services == {"fairlead-gateway", "dense"}

    by_call = "a" * 32
    asked = MESSAGES["ModelInferRequest"](model_name="dense")
    given = asked.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    given.contents.fp32_contents.extend([1, 2, 3, 4])
    method = "inference.GRPCInferenceService/ModelInfer"
    with grpc.insecure_channel(gateway.url.removeprefix("http://")) as channel:
        call = channel.unary_unary(f"/{method}")
        call(asked.SerializeToString(), metadata=[("traceparent", f"00-{by_call}-{CLIENT}-01")], timeout=60)
    check_links(spans_of(collector, by_call, 6), method)

    # The replica would trace each request that says nothing; the gateway says that none is traced.
    assert fetch(url, body=body).status == 200
    assert fetch(url, body=body, headers={"traceparent": f"00-{'b' * 32}-{CLIENT}-00"}).status == 200
    last = "c" * 32
    assert fetch(url, body=body, headers={"traceparent": f"00-{last}-{CLIENT}-01"}).status == 200
    spans_of(collector, last, 6)
    assert {span.trace_id.hex() for span in collector.spans()} == {trace, by_call, last}
