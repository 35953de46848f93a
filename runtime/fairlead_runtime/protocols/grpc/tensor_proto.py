"""TensorFlow's TensorProto to arrays and back, without TensorFlow.

Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/tensor.proto
"""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.model.signature import DType, TensorSpec, dtype_number
from fairlead_runtime.protocols import binary
from fairlead_runtime.protocols.grpc import v2_contents
from fairlead_runtime.protocols.grpc.schema import Message
from fairlead_runtime.protocols.http import VALUES_MAX

_FIELDS = MappingProxyType(
    {
        DType.BOOL: ("bool_val", np.bool_),
        DType.INT8: ("int_val", np.int32),
        DType.INT16: ("int_val", np.int32),
        DType.INT32: ("int_val", np.int32),
        DType.UINT8: ("int_val", np.int32),
        DType.UINT16: ("int_val", np.int32),
        DType.INT64: ("int64_val", np.int64),
        DType.UINT32: ("uint32_val", np.uint32),
        DType.UINT64: ("uint64_val", np.uint64),
        DType.FLOAT32: ("float_val", np.float32),
        DType.FLOAT64: ("double_val", np.float64),
        DType.STRING: ("string_val", np.object_),
    }
)


def read(spec: TensorSpec, given: Message) -> Array:
    """The tensor of a request. Raises RequestError where the message doesn't fit the spec or itself."""
    if given.dtype != dtype_number(spec.dtype):
        text = f"expected dtype {spec.dtype.value} (number {dtype_number(spec.dtype)}), got number {given.dtype}"
        raise _input_error(spec, text)
    shape = [dim.size for dim in given.tensor_shape.dim[: codec.RANK_MAX + 1]]
    if given.tensor_shape.unknown_rank or not all(0 <= size <= codec.SIZE_MAX for size in shape):
        raise _input_error(spec, f"tensor_shape must hold sizes from 0 to {codec.SIZE_MAX}")
    needed = codec.count_elements(spec, shape)
    codec.check_shape(spec, shape)
    content = given.tensor_content
    if content:
        if spec.dtype is DType.STRING:
            raise _input_error(spec, "strings must be in string_val, not in tensor_content")
        return binary.Reader(memoryview(content)).read(spec, len(content), shape)
    return _read_values(spec, given, needed).reshape(shape)


def write(spec: TensorSpec, array: Array, message: Message) -> None:
    """Fills `message` with a tensor."""
    message.dtype = dtype_number(spec.dtype)
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if spec.dtype is DType.STRING:
        message.string_val.extend(
            item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()
        )
    else:
        message.tensor_content = binary.write(array)


def _read_values(spec: TensorSpec, given: Message, needed: int) -> Array:
    """From the field for the type. One value alone stands for all: clients send constant tensors so."""
    if spec.dtype is DType.FLOAT16:
        bits = np.fromiter(given.half_val, dtype=np.int32, count=len(given.half_val))
        if bits.size and (bits.min() < 0 or bits.max() > np.iinfo(np.uint16).max):
            raise _input_error(spec, "half_val holds a number that is no 16 bits")
        values: Array = bits.astype(np.uint16).view(np.float16)
        field = "half_val"
    else:
        field, kind = _FIELDS[spec.dtype]
        found = getattr(given, field)
        values = np.empty(len(found), dtype=kind)
        values[:] = list(found) if spec.dtype is DType.STRING else np.fromiter(found, dtype=kind, count=len(found))
    if len(values) == 1 and 1 < needed <= VALUES_MAX:
        values = np.repeat(values, needed)
    if len(values) != needed:
        raise _input_error(spec, f"its tensor_shape needs {needed} values, but {field} has {len(values)}")
    return values if spec.dtype is DType.STRING else v2_contents.narrow(spec, values)


def _input_error(spec: TensorSpec, why: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r}: {why}")
