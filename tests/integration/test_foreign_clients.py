"""Clients that other projects publish ask a model through a real gateway: each call is answered right or refused."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import replica_parts
from tests.support.foreign import packages
from tests.support.gateway_process import Gateway, make_node, revision, spec

from fairlead_runtime.config import NodeEnvironment
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols.grpc import v1_messages

pytestmark = pytest.mark.real

A, CLASSIFIER, REGRESSOR = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"
DOUBLED = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]
"""Of the rows that the program sends."""

SHARED_BY_TRITONS_CLIENTS: dict[str, Any] = {
    "is_server_live": True,
    "is_server_ready": True,
    "is_model_ready": True,
    "is_model_ready of a version": True,
    "infer": DOUBLED,
    "infer one output": DOUBLED,
    "infer with an id": "answered",
    "metadata of the server": "fairlead-gateway",
    "metadata of the model": [-1, 4],
    "statistics": ["digits", "3", ["compute_infer", "compute_input", "compute_output", "fail", "queue", "success"]],
    "model config": ["digits", ["x", "TYPE_FP32", [-1, 4]], ["y", "TYPE_FP32", [-1, 4]]],
    "repository index": [["digits", "3", "READY"], ["digits", "4", "READY"], ["digits", "5", "READY"]],
}
EXPECTED: dict[str, dict[str, Any]] = {
    "tritonclient.grpc": {
        **SHARED_BY_TRITONS_CLIENTS,
        "infer of an unknown model": "StatusCode.NOT_FOUND: model not found: cats",
        "infer of a wrong shape": "StatusCode.INVALID_ARGUMENT: input 'x': expected shape [-1, 4], got [1, 3]",
        "async_infer": DOUBLED,
        "infer with a timeout": 2,
        "infer with classes": "StatusCode.INVALID_ARGUMENT: output 'y': the parameter 'classification' is not "
        "supported; leave it out",
        "infer with a priority": "StatusCode.INVALID_ARGUMENT: the request: the parameter 'priority' is not supported; "
        "leave it out",
        "statistics of an unknown version": "StatusCode.NOT_FOUND: model digits has no version 9",
        "load a model": "StatusCode.UNIMPLEMENTED: the method is not implemented",
    },
    "tritonclient.http": {
        **SHARED_BY_TRITONS_CLIENTS,
        "infer of an unknown model": "404: model not found: cats",
        "infer of a wrong shape": "400: input 'x': expected shape [-1, 4], got [1, 3]",
        "infer by JSON": DOUBLED,
        "infer with a compressed answer": DOUBLED,
        "infer by gzip": DOUBLED,
        "infer by deflate": DOUBLED,
        "infer with classes": "400: output 'y': the parameter 'classification' is not supported; leave it out",
        "infer with a priority": "400: the request: the parameter 'priority' is not supported; leave it out",
        "statistics of an unknown version": "404: model digits has no version 9",
        "load a model": "404: no such path: /v2/repository/models/digits/load; models are at /v2/models/NAME and "
        "/v1/models/NAME",
    },
    "tensorflow_serving.apis": {
        "Predict": DOUBLED,
        "Predict of a version": DOUBLED,
        "Predict of a label": DOUBLED,
        "Predict of a constant": [3.0] * 8,
        "Predict of an unknown version": "StatusCode.NOT_FOUND: model digits has no version 9",
        "GetModelMetadata": ["x"],
        "GetModelStatus": 30,
        "Classify": "StatusCode.INVALID_ARGUMENT: classify needs a signature with one input of serialized tf.Example "
        "strings, which 'serving_default' does not have; use predict",
        "Classify with a classifier": [["young", 0.75], ["old", 0.25], ["young", 0.25], ["old", 0.75]],
        "Regress with a regressor": [25.0, 75.0],
        "MultiInference with a regressor": [[25.0]],
        "MultiInference of two tasks": "StatusCode.INVALID_ARGUMENT: tasks: exactly one is needed, as this replica "
        "serves one signature; got 2",
    },
    "httpx": {
        "a page's preflight": [204, "https://app.example.org", "content-type,x-request-id", "origin"],
        "a page's call, which is refused": [400, "https://app.example.org", None, "origin"],
        "the preflight of another page": [405, None, None, "origin"],
        "a large answer": [200, "gzip", True],
        "a large answer without compression": [200, None, True],
        "a small answer": [200, None, True],
        "classify": {"results": [[["young", 0.75], ["old", 0.25]]]},
        "the index of what is ready": 3,
    },
    "grpc_reflection": {
        "services": [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "inference.GRPCInferenceService",
            "tensorflow.serving.ModelService",
            "tensorflow.serving.PredictionService",
        ],
        "a call by its descriptors": True,
        "an unknown symbol": "not found: Couldn't find message cats.Cat",
    },
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[Any]]]:
    folder = tmp_path_factory.mktemp("foreign")
    gateway = Gateway(
        folder / "gateway",
        nodes=[make_node(folder / "node")],
        arguments=("--routes-file", str(folder / "gateway-routes.json"), "--allow-origin", "https://app.example.org"),
    )
    gateway.start()
    aliases = {A: ("3",), CLASSIFIER: ("4",), REGRESSOR: ("5",)}
    try:
        with contextlib.ExitStack() as stack:
            for setting in _settings(gateway.nodes[0]):
                stack.enter_context(replica_parts.running(setting))
            gateway.apply(digits=spec(A, {name: revision(aliases=own) for name, own in aliases.items()}))
            for name in aliases:
                gateway.wait_up("digits", name)
            return _ask(gateway.url.removeprefix("http://"))
    finally:
        gateway.stop()


def _settings(node: NodeEnvironment) -> list[replica_parts.Setting]:
    """One replica of each kind of model."""
    examples = TensorSpec(name="examples", dtype=DType.STRING, shape=(None,))
    classes = TensorSpec(name="classes", dtype=DType.STRING, shape=(None, 2))
    scores = TensorSpec(name="scores", dtype=DType.FLOAT32, shape=(None, 2))
    number = TensorSpec(name="outputs", dtype=DType.FLOAT32, shape=(None, 1))

    def signature(*outputs: TensorSpec) -> Signature:
        return Signature(name="s", method="tensorflow/serving/predict", inputs=(examples,), outputs=outputs)

    return [
        replica_parts.Setting(revision=A, node=node),
        replica_parts.Setting(revision=CLASSIFIER, node=node, signature=signature(classes, scores), model=_classify),
        replica_parts.Setting(revision=REGRESSOR, node=node, signature=signature(number), model=lambda i: (_ages(i),)),
    ]


def _ages(inputs: Tensors) -> Any:
    found = [v1_messages.MESSAGES["Example"].FromString(each).features.feature["age"] for each in inputs[0]]
    return np.array([[each.int64_list.value[0]] for each in found], np.float32)


def _classify(inputs: Tensors) -> Tensors:
    shares = _ages(inputs) / 100
    labels = np.array([[b"young", b"old"]] * len(shares), dtype=object)
    return labels, np.concatenate([1 - shares, shares], axis=1)


def _ask(address: str) -> dict[str, dict[str, list[Any]]]:
    # A file of the program's folder must not be taken for another module.
    environment = {**os.environ, "PYTHONPATH": str(packages.obtain()), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, str(Path(program_file())), address, "digits"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, dict[str, list[Any]]] = json.loads(done.stdout.splitlines()[-1])
    return answer


def program_file() -> Path:
    return packages.LOCK.with_name("calls.py")


@pytest.mark.parametrize("client", EXPECTED)
def test_each_call_is_answered_or_refused_with_the_reason(found: dict[str, dict[str, list[Any]]], client: str) -> None:
    assert {name: value for name, (_, value) in found[client].items()} == EXPECTED[client]
    for name, (outcome, value) in found[client].items():
        print(f"| {client} | {name} | {outcome} | {value} |")
