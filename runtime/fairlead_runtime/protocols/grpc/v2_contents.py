"""Typed tensor contents of the Open Inference Protocol to arrays and back."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.model.signature import DType, TensorSpec
from fairlead_runtime.protocols.grpc.schema import Message

FIELDS = MappingProxyType(
    {
        DType.BOOL: "bool_contents",
        DType.INT8: "int_contents",
        DType.INT16: "int_contents",
        DType.INT32: "int_contents",
        DType.INT64: "int64_contents",
        DType.UINT8: "uint_contents",
        DType.UINT16: "uint_contents",
        DType.UINT32: "uint_contents",
        DType.UINT64: "uint64_contents",
        DType.FLOAT32: "fp32_contents",
        DType.FLOAT64: "fp64_contents",
        DType.STRING: "bytes_contents",
    }
)
"""The field for each type. FP16 has none: it travels as raw bytes only."""


def read(spec: TensorSpec, contents: Message, shape: list[int]) -> Array:
    """The tensor of this shape in `contents`. Raises RequestError where they don't fit the spec or each other."""
    needed = codec.count_elements(spec, shape)
    field = FIELDS.get(spec.dtype)
    if field is None:
        raise _input_error(spec, "FP16 has no typed contents; send it in raw_input_contents")
    values = getattr(contents, field)
    if len(values) != needed:
        raise _input_error(spec, f"its shape {shape} needs {needed} values in contents.{field}, got {len(values)}")
    codec.check_shape(spec, shape)
    if spec.dtype is DType.STRING:
        array = np.empty(needed, dtype=object)
        array[:] = list(values)
        return array.reshape(shape)
    return narrow(spec, np.fromiter(values, dtype=_wide(spec.dtype), count=needed)).reshape(shape)


def narrow(spec: TensorSpec, array: Array) -> Array:
    """Numbers in the spec's own type. Raises RequestError for one beyond it."""
    if array.dtype != spec.dtype.numpy:
        limits = np.iinfo(spec.dtype.numpy)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            raise _input_error(spec, f"its data holds a number outside {spec.dtype.value}")
    return array.astype(spec.dtype.numpy, copy=False)


def write(spec: TensorSpec, array: Array, contents: Message) -> None:
    """Fills `contents` with a tensor's values in row-major order. Not for FP16."""
    getattr(contents, FIELDS[spec.dtype]).extend(array.reshape(-1).tolist())


def _wide(dtype: DType) -> np.dtype[np.generic]:
    """The type of the field's values."""
    if dtype in (DType.INT8, DType.INT16):
        return np.dtype(np.int32)
    return np.dtype(np.uint32) if dtype in (DType.UINT8, DType.UINT16) else np.dtype(dtype.numpy)


def _input_error(spec: TensorSpec, why: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r}: {why}")
