"""gRPC through a real gateway to a real replica's server, by grpcio's own client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from tests.support import guard_parts, replica_parts
from tests.support.gateway_process import Gateway, fetch, make_node, revision, spec
from tests.support.until import until

from fairlead_runtime.config import GuardMode
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.protocols.grpc import v1_messages, v2_messages
from fairlead_runtime.server.limits import ServerLimits

pytestmark = pytest.mark.real

A, B = "aaaaaaaaaa", "bbbbbbbbbb"
V2, V1 = v2_messages.MESSAGES, v1_messages.MESSAGES
INFERENCE = "/inference.GRPCInferenceService/"
PREDICTION = "/tensorflow.serving.PredictionService/"
BODY_BYTES_MAX = 8 * 1024 * 1024
REVISIONS = {A: revision(aliases=("3",)), B: revision(aliases=("v2",))}
"""Each replica of these tests has the number 3."""


@dataclass
class Client:
    """One channel to the gateway."""

    channel: grpc.Channel

    def call(self, path: str, request: Any, answer: type[Any], **options: Any) -> Any:
        """The answer's message; raises grpc.RpcError."""
        return self.call_whole(path, request, answer, **options)[0]

    def call_whole(self, path: str, request: Any, answer: type[Any], **options: Any) -> tuple[Any, grpc.Call]:
        method = self.channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        found: tuple[Any, grpc.Call] = method.with_call(request, timeout=20, **options)
        return found

    def infer(self, request: Any, **options: Any) -> Any:
        return self.call(f"{INFERENCE}ModelInfer", request, V2["ModelInferResponse"], **options)


@dataclass
class World:
    gateway: Gateway
    client: Client
    replicas: dict[str, replica_parts.Running]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("grpc")
    gateway = Gateway(folder / "gateway", nodes=[make_node(folder / "node")])
    gateway.start()
    running = [_setting(name, gateway) for name in (A, B)]
    try:
        with replica_parts.running(running[0]) as a, replica_parts.running(running[1]) as b:
            gateway.apply(digits=spec(A, REVISIONS, candidate=B, maxRequestBytes=BODY_BYTES_MAX))
            for name in (A, B):
                gateway.wait_up("digits", name)
            with grpc.insecure_channel(gateway.url.removeprefix("http://")) as channel:
                yield World(gateway, Client(channel), {A: a, B: b})
    finally:
        gateway.stop()


def _setting(name: str, gateway: Gateway) -> replica_parts.Setting:
    return replica_parts.Setting(
        signature=replica_parts.float_signature(),
        revision=name,
        node=gateway.nodes[0],
        limits=ServerLimits(body_bytes_max=BODY_BYTES_MAX),
        guards=guard_parts.build({Guard.NOT_FINITE: GuardMode.REJECT}),
    )


def infer_request(rows: Any, *, raw: bool, **fields: Any) -> Any:
    array = np.asarray(rows, dtype=np.float32)
    request = V2["ModelInferRequest"](**{"model_name": "digits", **fields})
    item = request.inputs.add(name="x", datatype="FP32", shape=array.shape)
    if raw:
        request.raw_input_contents.append(array.tobytes())
    else:
        item.contents.fp32_contents.extend(array.reshape(-1).tolist())
    return request


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_a_prediction_is_answered_in_the_form_in_which_it_was_asked(world: World, raw: bool) -> None:
    answer, call = world.client.call_whole(
        f"{INFERENCE}ModelInfer", infer_request([[1, 2, 3, 4]], raw=raw, id="mine"), V2["ModelInferResponse"]
    )

    assert (answer.model_name, answer.model_version, answer.id) == ("digits", "3", "mine")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", "FP32", [1, 4])
    values = np.frombuffer(answer.raw_output_contents[0], "<f4") if raw else output.contents.fp32_contents
    assert list(values) == [2, 4, 6, 8]
    assert dict(call.initial_metadata())["x-fairlead-revision"] == A


def test_a_message_far_beyond_the_gateways_buffer_is_answered(world: World) -> None:
    rows = np.arange(4 * 100_000, dtype=np.float32).reshape(-1, 4)
    answer = world.client.infer(infer_request(rows, raw=True))
    assert np.array_equal(np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(-1, 4), rows * 2)


@pytest.mark.parametrize(
    ("fields", "metadata", "expected"),
    [
        pytest.param({}, (), A, id="stable"),
        pytest.param({"model_version": "v2"}, (), B, id="by alias"),
        pytest.param({"model_version": "3"}, (), A, id="by number"),
        pytest.param({"model_version": "7"}, (), None, id="by a number that nothing has"),
        pytest.param({}, (("x-fairlead-revision", B),), B, id="by metadata"),
    ],
)
def test_a_version_selects_the_revision(
    world: World, fields: dict[str, str], metadata: Any, expected: str | None
) -> None:
    request = infer_request([[1, 2, 3, 4]], raw=True, **fields)
    if expected is None:
        with pytest.raises(grpc.RpcError) as refused:
            world.client.infer(request, metadata=metadata)
        assert status_of(refused.value) == (grpc.StatusCode.NOT_FOUND, "model digits has no version 7")
        return
    _, call = world.client.call_whole(f"{INFERENCE}ModelInfer", request, V2["ModelInferResponse"], metadata=metadata)
    assert dict(call.initial_metadata())["x-fairlead-revision"] == expected


def status_of(error: Any) -> tuple[grpc.StatusCode, str]:
    return error.code(), error.details()


REFUSED = {
    "unknown model": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request([[1, 2, 3, 4]], raw=True, model_name="cats"),
        grpc.StatusCode.NOT_FOUND,
        "model not found: cats",
    ),
    "no model": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request([[1, 2, 3, 4]], raw=True, model_name=""),
        grpc.StatusCode.INVALID_ARGUMENT,
        "the message must begin with the name of a model",
    ),
    "a name that is a path": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request([[1, 2, 3, 4]], raw=True, model_name="digits/versions/2"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "the message must begin with the name of a model",
    ),
    "a version that is a path": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request([[1, 2, 3, 4]], raw=True, model_version="2/x"),
        grpc.StatusCode.NOT_FOUND,
        "model digits has no version -",
    ),
    "a wrong shape": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request([[1, 2, 3]], raw=True),
        grpc.StatusCode.INVALID_ARGUMENT,
        "input 'x': expected shape [-1, 4], got [1, 3]",
    ),
    "a row that a guard rejects": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request([[1, 2, 3, np.nan]], raw=True),
        grpc.StatusCode.FAILED_PRECONDITION,
        "input 'x': row 0 has a number that is not finite (guard NotFinite)",
    ),
    "unknown method": (
        "inference.GRPCInferenceService/RepositoryModelLoad",
        V2["ModelReadyRequest"](),
        grpc.StatusCode.UNIMPLEMENTED,
        "the method is not implemented",
    ),
    "unknown method of a model": (
        "inference.GRPCInferenceService/ModelStreamInfer",
        infer_request([[1, 2, 3, 4]], raw=True),
        grpc.StatusCode.UNIMPLEMENTED,
        "the method inference.GRPCInferenceService/ModelStreamInfer is not implemented",
    ),
    "unknown service": (
        "helloworld.Greeter/SayHello",
        V2["ModelReadyRequest"](name="digits"),
        grpc.StatusCode.UNIMPLEMENTED,
        "the method is not implemented",
    ),
    "too large": (
        "inference.GRPCInferenceService/ModelInfer",
        infer_request(np.zeros((BODY_BYTES_MAX // 16 + 1, 4)), raw=True),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"the body is larger than the limit of {BODY_BYTES_MAX} bytes",
    ),
}


REFUSED_BY_THE_REPLICA = {"a wrong shape", "a row that a guard rejects", "unknown method of a model", "too large"}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_a_status_and_a_reason(world: World, case: str) -> None:
    path, request, code, words = REFUSED[case]
    with pytest.raises(grpc.RpcError) as refused:
        world.client.call(f"/{path}", request, V2["ModelInferResponse"], metadata=(("x-request-id", "mine"),))
    assert status_of(refused.value) == (code, words)
    # A refusal has one block of fields, which a client takes for trailers.
    metadata = dict(refused.value.trailing_metadata())
    assert metadata["x-request-id"] == "mine"
    assert ("x-fairlead-revision" in metadata) == (case in REFUSED_BY_THE_REPLICA)


def test_a_compressed_message_is_refused_with_what_to_do(world: World) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        world.client.infer(infer_request(np.zeros((500, 4)), raw=True), compression=grpc.Compression.Gzip)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "compressed" in refused.value.details()


def test_metadata_and_readiness_are_those_of_the_model(world: World) -> None:
    metadata = world.client.call(
        f"{INFERENCE}ModelMetadata", V2["ModelMetadataRequest"](name="digits"), V2["ModelMetadataResponse"]
    )
    ready = world.client.call(
        f"{INFERENCE}ModelReady", V2["ModelReadyRequest"](name="digits"), V2["ModelReadyResponse"]
    )

    (given,) = metadata.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("x", "FP32", [-1, 4])
    assert (metadata.name, list(metadata.versions), ready.ready) == ("digits", ["3"], True)


def predict_request(form: str = "content", *, version: int | None = None, label: str | None = None) -> Any:
    request = V1["PredictRequest"]()
    request.model_spec.name = "digits"
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (1, 4):
        tensor.tensor_shape.dim.add(size=size)
    if form == "content":
        tensor.tensor_content = np.asarray([1, 2, 3, 4], "<f4").tobytes()
    else:
        tensor.float_val.extend([1, 2, 3, 4] if form == "values" else [5])
    return request


@pytest.mark.parametrize(
    ("form", "expected"),
    [("content", [2, 4, 6, 8]), ("values", [2, 4, 6, 8]), ("one value for all", [10, 10, 10, 10])],
)
def test_tensorflow_servings_predict_answers_each_form_of_a_tensor(
    world: World, form: str, expected: list[float]
) -> None:
    answer = world.client.call(f"{PREDICTION}Predict", predict_request(form), V1["PredictResponse"])
    assert list(np.frombuffer(answer.outputs["y"].tensor_content, "<f4")) == expected
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("digits", 3)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, A),
        ({"version": 3}, A),
        ({"label": "candidate"}, B),
        ({"label": "stable"}, A),
        ({"version": 8}, "model digits has no version 8"),
        ({"label": "a/b"}, "model digits has no version -"),
    ],
)
def test_tensorflow_servings_version_or_label_selects_the_revision(
    world: World, asked: dict[str, Any], expected: str
) -> None:
    request = predict_request(**asked)
    if expected not in REVISIONS:
        with pytest.raises(grpc.RpcError) as refused:
            world.client.call(f"{PREDICTION}Predict", request, V1["PredictResponse"])
        assert status_of(refused.value) == (grpc.StatusCode.NOT_FOUND, expected)
        return
    _, call = world.client.call_whole(f"{PREDICTION}Predict", request, V1["PredictResponse"])
    assert dict(call.initial_metadata())["x-fairlead-revision"] == expected


def test_what_is_asked_of_the_gateway_itself_is_answered_by_it(world: World) -> None:
    ready = V2["ModelReadyResponse"]
    empty = V2["ModelReadyRequest"]()
    for method in ("ServerLive", "ServerReady"):
        assert world.client.call(f"{INFERENCE}{method}", empty, ready).ready
    named = world.client.call(f"{INFERENCE}ServerMetadata", empty, V2["ModelReadyRequest"])
    assert named.name == "fairlead-gateway"
    health = "/grpc.health.v1.Health/Check"
    for service in ("", "inference.GRPCInferenceService"):
        checked = world.client.call(health, V2["ModelReadyRequest"](name=service), v1_messages.MESSAGES["Int64Value"])
        assert checked.value == 1
    with pytest.raises(grpc.RpcError) as refused:
        world.client.call(health, V2["ModelReadyRequest"](name="cats"), ready)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_calls_count_as_the_models_requests_with_the_status_that_they_had(world: World) -> None:
    def counted(code: str) -> float:
        return world.gateway.metric("fairlead_gateway_requests_total", model="digits", revision=A, code=code)

    def refused() -> None:
        with pytest.raises(grpc.RpcError):
            world.client.infer(infer_request([[1, 2, 3]], raw=True))

    # Calls are counted in their order, some time after their answer: once this one is, those of other tests are, too.
    seen = counted("400")
    refused()
    until(lambda: counted("400") > seen, "earlier calls are counted")
    before = counted("200"), counted("400")
    for _ in range(20):
        world.client.infer(infer_request([[1, 2, 3, 4]], raw=True))
    refused()
    until(lambda: (counted("200"), counted("400")) == (before[0] + 20, before[1] + 1), "21 calls counted")


def test_calls_for_metadata_are_counted_apart(world: World) -> None:
    def counted(name: str) -> float:
        return world.gateway.metric(f"fairlead_gateway_{name}_total", model="digits", revision=A, code="200")

    seen = counted("requests")
    world.client.infer(infer_request([[1, 2, 3, 4]], raw=True))
    until(lambda: counted("requests") > seen, "earlier calls are counted")
    predictions, apart = counted("requests"), counted("metadata_requests")

    assert world.client.call(
        f"{INFERENCE}ModelReady", V2["ModelReadyRequest"](name="digits"), V2["ModelReadyResponse"]
    ).ready
    world.client.call(
        f"{INFERENCE}ModelMetadata", V2["ModelMetadataRequest"](name="digits"), V2["ModelMetadataResponse"]
    )

    until(lambda: counted("metadata_requests") == apart + 2, "two calls are counted apart")
    assert counted("requests") == predictions


def test_the_inner_path_is_not_for_clients(world: World) -> None:
    for path in ("/rpc/models/digits/inference.GRPCInferenceService/ModelInfer", "/rpc/server/x", "/rpc/unnamed"):
        assert fetch(world.gateway.url + path, body=b"{}").status == 404


def test_the_share_of_calls_is_as_exact_as_that_of_requests(world: World) -> None:
    world.gateway.apply(digits=weighted(2500))
    request, to_candidate = infer_request([[1, 2, 3, 4]], raw=True), 0
    for _ in range(1000):
        _, call = world.client.call_whole(f"{INFERENCE}ModelInfer", request, V2["ModelInferResponse"])
        to_candidate += dict(call.initial_metadata())["x-fairlead-revision"] == B
    assert abs(to_candidate - 250) <= 1


def weighted(weight: int) -> dict[str, Any]:
    return spec(A, REVISIONS, candidate=B, candidateWeight=weight, maxRequestBytes=BODY_BYTES_MAX)


def test_no_call_fails_while_the_gateway_reloads(world: World) -> None:
    world.gateway.apply(digits=weighted(0))
    stop, calls, failures = threading.Event(), [0] * 4, []

    def ask(index: int) -> None:
        request = infer_request([[1, 2, 3, index]], raw=True)
        with grpc.insecure_channel(world.gateway.url.removeprefix("http://")) as channel:
            client = Client(channel)
            while not stop.is_set():
                try:
                    answer = client.infer(request)
                    assert np.frombuffer(answer.raw_output_contents[0], "<f4")[3] == 2 * index
                except (grpc.RpcError, AssertionError) as failure:
                    failures.append(failure)
                calls[index] += 1

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    before = set(world.gateway.workers())
    for name in ("x-one", "x-two", "x-three"):
        # The name of a header that no route asked for is one more rule, and so a reload.
        so_far = sum(calls)
        world.gateway.apply(digits={**weighted(0)}, cats=spec(A, REVISIONS, candidate=B, sticky={"header": name}))
        until(lambda so_far=so_far: sum(calls) > so_far + 200, "calls go on")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(world.gateway.workers()) - before, "the gateway has not reloaded"
    assert (failures, sum(calls) > 600) == ([], True)
