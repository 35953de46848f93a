"""Small converted models, with samples that they answer right, and what the cache of a node knows of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fairlead_runtime.config import Environment, Source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Fetched, Held
from fairlead_runtime.model.onnx import conversions, predictor
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.optimization import samples

FEATURES, UNITS, CLASSES = 16, 64, 4
ROWS = 240
SIGNATURE = Signature(
    name="serving_default",
    method="predict",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, FEATURES)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, CLASSES)),),
)


def model(
    nodes: list[Any], constants: dict[str, np.ndarray], features: int = FEATURES, results: int = CLASSES
) -> bytes:
    """From `x` of [rows, FEATURES] to `y` of [rows, CLASSES]."""
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, CLASSES])]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", given, result, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def two_layers() -> bytes:
    """Two dense layers, whose classes are about equally frequent for rows of a normal distribution."""
    generator = np.random.default_rng(4)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["c"]),
        helper.make_node("Softmax", ["c"], ["y"], axis=-1),
    ]
    first = generator.normal(0, 0.3, (FEATURES, UNITS)).astype(np.float32)
    second = generator.normal(0, 0.3, (UNITS, CLASSES)).astype(np.float32)
    return model(nodes, {"first": first, "second": second - second.mean(axis=0)})


def rows(count: int = ROWS) -> np.ndarray:
    """Of a normal distribution, the same ones each time."""
    return np.random.default_rng(6).normal(size=(count, FEATURES)).astype(np.float32)


def answered(content: bytes, given: np.ndarray) -> np.ndarray:
    """What the model says to the rows."""
    return predictor.open_model(content, SIGNATURE, threads=1)((given,))[0]


def write_samples(folder: Path, content: bytes) -> Path:
    """Samples whose labels are the model's own answers."""
    given = rows()
    path = folder / samples.NAME
    np.savez(path, x=given, labels=answered(content, given).argmax(axis=1))
    return path


def wanted(folder: Path, *, convert_s: float = 600.0) -> conversions.Wanted:
    """What a replica with one CPU wants converted, with its cache in the folder."""
    lease = Held(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
    return conversions.Wanted(
        fetched=Fetched(path=folder, digest="sha256:" + "1" * 64, lease=lease),
        source=Source(uri=folder.as_uri()),
        bounds=Bounds(bytes_max=100_000_000),
        threads=1,
        environment=Environment(cache_dir=folder / "cache", convert_s=convert_s),
        is_measured=False,
    )
