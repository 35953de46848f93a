"""Variants with weights of 8 bits; those with fixed ranges by ONNX Runtime's own tools."""

from __future__ import annotations

import contextlib
import importlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fairlead_runtime.model.onnx.predictor import first_sentence
from fairlead_runtime.model.predictor import Array, Tensors
from fairlead_runtime.optimization import graphs, row_int8

BATCH_ROWS = 8
_STATIC_OPS = (
    *("Conv", "MatMul", "Gemm", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Mul"),
    *("Concat", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"),
)
"""Without Gather: ONNX Runtime 1.32 ends by a signal when it opens a table of 8 bits whose indices are computed."""
_WIDE_MAX, _SMALL_MAX = 127, 64
"""Of a weight. Two products of the smaller one with a byte fit in 16 bits."""
_WIDE_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "asimddp", "i8mm"})
_MARKS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_ERRORS = (
    *(ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, NotImplementedError),
    RuntimeError,
)


def needs_small_range() -> bool:
    """Whether a product of two bytes may be too large for the processor's 16 bits, which nothing would report.

    Source: ONNX Runtime, "Quantize ONNX models": reduce_range on x64 without VNNI.
    """
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return not any(flag in text.split() for flag in _WIDE_PRODUCTS)


def quantize_static(model: Any, calibration: Tensors) -> bytes:
    """Weights and activations, with ranges from `calibration`; raises CannotMakeError."""
    tools = importlib.import_module("onnxruntime.quantization")
    names = [each.name for each in model.graph.input]
    reader = _reader(tools, names, calibration)
    return _quantize(
        lambda source, target: tools.quantize_static(
            source,
            target,
            reader,
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=needs_small_range(),
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            op_types_to_quantize=list(_STATIC_OPS),
        ),
        model,
    )


def quantize_dynamic(model: Any) -> bytes:
    """Weights; the ranges of activations are found in each call, for each row. Raises CannotMakeError."""
    return row_int8.quantize(model, _SMALL_MAX if needs_small_range() else _WIDE_MAX)


def _quantize(make: Any, model: Any) -> bytes:
    onnx = importlib.import_module("onnx")
    errors = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    with tempfile.TemporaryDirectory(prefix="fairlead-int8-") as folder, _without_recommendations():
        source, target = Path(folder, "source.onnx"), Path(folder, "target.onnx")
        source.write_bytes(model.SerializeToString())
        try:
            make(str(source), str(target))
        except (*_ERRORS, errors.Fail, errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException) as error:
            raise graphs.CannotMakeError(f"it can't be quantized: {first_sentence(str(error))}") from None
        content = target.read_bytes()
    made = onnx.load_model_from_string(content)
    if not any(node.op_type in _MARKS for graph in graphs.graphs(made.graph) for node in graph.node):
        raise graphs.CannotMakeError("it has no layer that can be quantized so")
    return content


@contextlib.contextmanager
def _without_recommendations() -> Iterator[None]:
    """The tools recommend, by the root logger, steps that were done already."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _reader(tools: Any, names: Sequence[str], calibration: Tensors) -> Any:
    batches = _batches(names, calibration)

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Mapping[str, Array] | None:
            return next(batches, None)

    return Reader()


def _batches(names: Sequence[str], calibration: Tensors) -> Iterator[Mapping[str, Array]]:
    for start in range(0, len(calibration[0]), BATCH_ROWS):
        yield {name: array[start : start + BATCH_ROWS] for name, array in zip(names, calibration, strict=True)}
