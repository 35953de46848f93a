"""A program that asks a server by clients that others wrote, and prints what each call gave.

`python calls.py HOST:PORT MODEL` needs the folder of `packages.py` on its path. The model takes `x`, rows of four
FP32, and answers `y`, twice that. The output is a JSON object: the call's name to `["ok", value]` or
`["refused", what the client's error says]`.
"""

from __future__ import annotations

import json
import os
import queue
import sys
from collections.abc import Callable, Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import grpc
import httpx
import numpy as np
import tensorflow as tf
import tritonclient.grpc
import tritonclient.http
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)
from tritonclient.utils import InferenceServerException

CLASSIFIER, REGRESSOR = "bbbbbbbbbb", "cccccccccc"
"""Revisions of the model that take examples with a feature `age`: its share of 100 as a score, and the age itself."""

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)
Calls = Iterator[tuple[str, Callable[[], object]]]


def triton_calls(module: Any, client: Any, model: str) -> Calls:
    """What both of Triton's clients can ask."""

    def given(rows: Any = ROWS) -> Any:
        made = module.InferInput("x", rows.shape, "FP32")
        made.set_data_from_numpy(rows)
        return [made]

    def infer(**options: Any) -> list[float]:
        values: list[float] = client.infer(model, given(), **options).as_numpy("y").reshape(-1).tolist()
        return values

    yield "is_server_live", client.is_server_live
    yield "is_server_ready", client.is_server_ready
    yield "is_model_ready", lambda: client.is_model_ready(model)
    yield "is_model_ready of a version", lambda: client.is_model_ready(model, "3")
    yield "infer", infer
    yield "infer with an id", lambda: client.infer(model, given(), request_id="7").get_response() and "answered"
    yield "infer one output", lambda: infer(outputs=[module.InferRequestedOutput("y")])
    yield "infer of an unknown model", lambda: client.infer("cats", given())
    yield "infer of a wrong shape", lambda: client.infer(model, given(np.zeros((1, 3), np.float32)))


def summarize(statistics: Any) -> list[object]:
    """Whose statistics they are, and which durations have been counted for a request that was answered."""
    (one,) = statistics["model_stats"]
    counted = [name for name, duration in one["inference_stats"].items() if int(duration.get("count", 0)) > 0]
    return [one["name"], one["version"], sorted(counted)]


def list_tensors(config: Any) -> list[object]:
    """The model's name, and each input and output; JSON of a message has its 64-bit numbers as texts."""
    tensors = (*config["input"], *config["output"])
    return [config["name"], *([one["name"], one["data_type"], list(map(int, one["dims"]))] for one in tensors)]


def list_versions(index: Any) -> list[list[str]]:
    """Each version with its state."""
    return [[one["name"], one["version"], one["state"]] for one in index]


def triton_grpc_calls(client: Any, model: str) -> Calls:
    """What Triton's gRPC client can ask besides."""
    module = tritonclient.grpc

    def given() -> Any:
        made = module.InferInput("x", ROWS.shape, "FP32")
        made.set_data_from_numpy(ROWS)
        return [made]

    def wait() -> list[float]:
        answers: queue.Queue[Any] = queue.Queue()
        client.async_infer(model, given(), callback=lambda result, error: answers.put((result, error)))
        result, error = answers.get(timeout=20)
        assert error is None, error
        values: list[float] = result.as_numpy("y").reshape(-1).tolist()
        return values

    yield "metadata of the server", lambda: client.get_server_metadata().name
    yield "metadata of the model", lambda: list(client.get_model_metadata(model).inputs[0].shape)
    yield "async_infer", wait
    yield "infer with a timeout", lambda: client.infer(model, given(), client_timeout=20).as_numpy("y").shape[0]
    yield "infer with classes", lambda: client.infer(model, given(), outputs=[module.InferRequestedOutput("y", 2)])
    yield "infer with a priority", lambda: client.infer(model, given(), priority=1)
    yield "model config", lambda: list_tensors(client.get_model_config(model, as_json=True)["config"])
    yield "statistics", lambda: summarize(client.get_inference_statistics(model, as_json=True))
    yield "statistics of an unknown version", lambda: client.get_inference_statistics(model, "9")
    yield "repository index", lambda: list_versions(client.get_model_repository_index(as_json=True)["models"])
    yield "load a model", lambda: client.load_model(model)


def triton_http_calls(client: Any, model: str) -> Calls:
    """What Triton's HTTP client can ask besides."""
    module = tritonclient.http

    def given() -> Any:
        made = module.InferInput("x", ROWS.shape, "FP32")
        made.set_data_from_numpy(ROWS)
        return [made]

    def infer_packed(algorithm: str) -> list[float]:
        answer = client.infer(model, given(), request_compression_algorithm=algorithm)
        values: list[float] = answer.as_numpy("y").reshape(-1).tolist()
        return values

    def infer_json(times: int = 1) -> list[float]:
        rows = np.tile(ROWS, (times, 1))
        made = module.InferInput("x", rows.shape, "FP32")
        made.set_data_from_numpy(rows, binary_data=False)
        outputs = [module.InferRequestedOutput("y", binary_data=False)]
        answer = client.infer(model, [made], outputs=outputs, response_compression_algorithm="gzip")
        values: list[float] = answer.as_numpy("y").reshape(-1).tolist()
        assert values == values[: ROWS.size] * times
        return values[: ROWS.size]

    yield "metadata of the server", lambda: client.get_server_metadata()["name"]
    yield "metadata of the model", lambda: client.get_model_metadata(model)["inputs"][0]["shape"]
    yield "infer by JSON", infer_json
    yield "infer with a compressed answer", lambda: infer_json(1200)
    yield "infer by gzip", lambda: infer_packed("gzip")
    yield "infer by deflate", lambda: infer_packed("deflate")
    yield "model config", lambda: list_tensors(client.get_model_config(model))
    yield "statistics", lambda: summarize(client.get_inference_statistics(model))
    yield "statistics of an unknown version", lambda: client.get_inference_statistics(model, "9")
    yield "repository index", lambda: list_versions(client.get_model_repository_index())
    yield "load a model", lambda: client.load_model(model)
    yield (
        "infer with classes",
        lambda: client.infer(model, given(), outputs=[module.InferRequestedOutput("y", class_count=2)]),
    )
    yield "infer with a priority", lambda: client.infer(model, given(), priority=1)


def httpx_calls(client: httpx.Client, model: str) -> Calls:
    """The calls of a plain HTTP client, which accepts compressed answers by default."""

    def infer(rows: int, **headers: str) -> list[object]:
        tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": [1.5] * 4 * rows}
        answer = client.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}, headers=headers)
        data = answer.json()["outputs"][0]["data"]
        return [answer.status_code, answer.headers.get("content-encoding"), data == [3.0] * 4 * rows]

    def classify() -> object:
        body = {"examples": [{"age": 25}]}
        return client.post(
            f"/v1/models/{model}:classify", json=body, headers={"x-fairlead-revision": CLASSIFIER}
        ).json()

    def ask_as_page(origin: str, method: str = "POST") -> list[object]:
        """What a browser reads before and after the call of a page of this origin."""
        path, headers = f"/v2/models/{model}/infer", {"origin": origin, "access-control-request-method": "POST"}
        if method == "OPTIONS":
            headers["access-control-request-headers"] = "content-type,x-request-id"
        answer = client.request(method, path, headers=headers)
        found = {name.removeprefix("access-control-"): value for name, value in answer.headers.items()}
        return [answer.status_code, *(found.get(name) for name in ("allow-origin", "allow-headers", "vary"))]

    yield "a page's preflight", lambda: ask_as_page("https://app.example.org", "OPTIONS")
    yield "a page's call, which is refused", lambda: ask_as_page("https://app.example.org")
    yield "the preflight of another page", lambda: ask_as_page("https://app.example.org.evil.org", "OPTIONS")
    yield "a large answer", lambda: infer(3000)
    yield "a large answer without compression", lambda: infer(3000, **{"accept-encoding": "identity"})
    yield "a small answer", lambda: infer(1)
    yield "classify", classify
    yield "the index of what is ready", lambda: len(client.post("/v2/repository/index", json={"ready": True}).json())


def tensorflow_serving_calls(channel: grpc.Channel, model: str) -> Calls:
    """What TensorFlow Serving's stubs can ask."""
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    models = model_service_pb2_grpc.ModelServiceStub(channel)

    def predict(tensor: Any = ROWS, **spec: Any) -> list[float]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(tensor, shape=[2, 4], dtype=tf.float32))
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        values: list[float] = tf.make_ndarray(predictions.Predict(request, 20).outputs["y"]).reshape(-1).tolist()
        return values

    def describe() -> list[str]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = model
        found = get_model_metadata_pb2.SignatureDefMap()
        assert predictions.GetModelMetadata(request, 20).metadata["signature_def"].Unpack(found)
        return sorted(found.signature_def["serving_default"].inputs)

    def status() -> int:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        state: int = models.GetModelStatus(request, 20).model_version_status[0].state
        return state

    yield "Predict", predict
    yield "Predict of a version", lambda: predict(version=3)
    yield "Predict of a label", lambda: predict(label="stable")
    yield "Predict of a constant", lambda: predict(1.5)
    yield "Predict of an unknown version", lambda: predict(version=9)
    yield "GetModelMetadata", describe
    yield "GetModelStatus", status


def example_calls(channel: grpc.Channel, model: str) -> Calls:
    """What TensorFlow Serving's stubs can ask with examples."""
    predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask_examples(request: Any, method: Any, *ages: int, revision: str | None = None) -> Any:
        """The call's answer for examples with these ages, from the revision or else the stable one."""
        for age in ages:
            features = request.input.example_list.examples.add().features
            features.feature["age"].int64_list.value.append(age)
        return method(request, 20, metadata=(("x-fairlead-revision", revision),) if revision is not None else None)

    def classify(revision: str | None = None) -> list[list[object]]:
        request = classification_pb2.ClassificationRequest(model_spec={"name": model})
        answer = ask_examples(request, predictions.Classify, 25, 75, revision=revision)
        return [[one.label, one.score] for each in answer.result.classifications for one in each.classes]

    def regress(revision: str) -> list[float]:
        request = regression_pb2.RegressionRequest(model_spec={"name": model})
        answer = ask_examples(request, predictions.Regress, 25, 75, revision=revision)
        return [one.value for one in answer.result.regressions]

    def infer_several(revision: str, *methods: str) -> list[list[float]]:
        request = inference_pb2.MultiInferenceRequest()
        for method in methods:
            request.tasks.add(model_spec={"name": model}, method_name=f"tensorflow/serving/{method}")
        answer = ask_examples(request, predictions.MultiInference, 25, revision=revision)
        return [[one.value for one in each.regression_result.regressions] for each in answer.results]

    yield "Classify", classify
    yield "Classify with a classifier", lambda: classify(CLASSIFIER)
    yield "Regress with a regressor", lambda: regress(REGRESSOR)
    yield "MultiInference with a regressor", lambda: infer_several(REGRESSOR, "regress")
    yield "MultiInference of two tasks", lambda: infer_several(REGRESSOR, "regress", "classify")


def reflection_calls(channel: grpc.Channel, model: str) -> Calls:
    """What a client learns by server reflection alone."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)

    def ask() -> bool:
        """A call whose path and messages are those of the descriptors."""
        method = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name["ModelReady"]
        call = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        ready: bool = call(GetMessageClass(method.input_type)(name=model), timeout=20).ready
        return ready

    yield "services", lambda: sorted(database.get_services())
    yield "a call by its descriptors", ask
    yield "an unknown symbol", lambda: pool.FindMessageTypeByName("cats.Cat") and "found"


def run(calls: Calls) -> dict[str, list[object]]:
    """What each call gave."""
    found: dict[str, list[object]] = {}
    for name, call in calls:
        try:
            found[name] = ["ok", call()]
        except InferenceServerException as error:
            found[name] = ["refused", f"{error.status()}: {error.message()}"]
        except KeyError as error:
            found[name] = ["refused", f"not found: {error.args[0]}"]
        except grpc.RpcError as error:
            found[name] = ["refused", f"{error.code()}: {error.details()}"]
    return found


def main() -> None:
    address, model = sys.argv[1:]
    by_grpc, by_http = tritonclient.grpc, tritonclient.http
    grpc_client = by_grpc.InferenceServerClient(address)
    http_client = by_http.InferenceServerClient(address)
    with grpc.insecure_channel(address) as channel, httpx.Client(base_url=f"http://{address}", timeout=20) as http:
        found = {
            "tritonclient.grpc": {
                **run(triton_calls(by_grpc, grpc_client, model)),
                **run(triton_grpc_calls(grpc_client, model)),
            },
            "tritonclient.http": {
                **run(triton_calls(by_http, http_client, model)),
                **run(triton_http_calls(http_client, model)),
            },
            "tensorflow_serving.apis": {
                **run(tensorflow_serving_calls(channel, model)),
                **run(example_calls(channel, model)),
            },
            "httpx": run(httpx_calls(http, model)),
            "grpc_reflection": run(reflection_calls(channel, model)),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
