"""What a model takes and gives, typed; read before TensorFlow is imported."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from fairlead_runtime.errors import LoadError, LoadReason

DEFAULT_NAME = "serving_default"
INIT_OP = "__saved_model_init_op"
FREE_SIZES = (1, 32, 128)
"""Images and sequences of one element are often too small for a model, so larger ones are tried after it."""
EXAMPLE_BYTES_MAX = 64 * 1024 * 1024
"""A larger example isn't made: it, and what the model makes of it, could take the memory that is there to serve."""


class DType(StrEnum):
    """Element types that a request may carry; the value is NumPy's name."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    BOOL = "bool"
    STRING = "string"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type; strings are objects."""
        return np.dtype(object) if self is DType.STRING else np.dtype(self.value)

    @property
    def is_float(self) -> bool:
        """Whether the type is float16, float32 or float64."""
        return self in (DType.FLOAT16, DType.FLOAT32, DType.FLOAT64)


# Numbers of the enum DataType. Source: tensorflow/core/framework/types.proto
_DTYPE_BY_NUMBER = {
    1: DType.FLOAT32,
    2: DType.FLOAT64,
    3: DType.INT32,
    4: DType.UINT8,
    5: DType.INT16,
    6: DType.INT8,
    7: DType.STRING,
    9: DType.INT64,
    10: DType.BOOL,
    17: DType.UINT16,
    19: DType.FLOAT16,
    22: DType.UINT32,
    23: DType.UINT64,
}
_COMPLEX_NUMBERS = frozenset({8, 18})
BFLOAT16 = "bfloat16"
_BFLOAT16_NUMBER = 14
_NUMBER_BY_DTYPE = {dtype: number for number, dtype in _DTYPE_BY_NUMBER.items()}


def dtype_number(dtype: DType) -> int:
    """The number of the type in TensorFlow's enum DataType."""
    return _NUMBER_BY_DTYPE[dtype]


def dtype_by_name(name: str) -> DType:
    """The type as clients see it: bfloat16 is float32 to them (`model/widening.py`). Raises LoadError."""
    try:
        return DType.FLOAT32 if name == BFLOAT16 else DType(name)
    except ValueError:
        text = f"a tensor has the type {name}, which can't be served: cast it within the model to float32 or int64"
        raise LoadError(LoadReason.MODEL_UNSUPPORTED, text) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output; a dimension of None is free, a shape of None has no known rank."""

    name: str
    dtype: DType
    shape: tuple[int | None, ...] | None

    @property
    def has_free_batch(self) -> bool:
        """Whether the first dimension is free, so that a request may have any number of rows."""
        return self.shape is not None and len(self.shape) > 0 and self.shape[0] is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A named entry of a model; inputs and outputs are in the order in which tensors travel inside the runtime."""

    name: str
    method: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def is_batched(self) -> bool:
        """Whether the first dimension of everything is free: rows of several requests may share a call."""
        return bool(self.inputs) and all(spec.has_free_batch for spec in (*self.inputs, *self.outputs))

    @property
    def free_sizes(self) -> tuple[int, ...]:
        """What an example may have for each free dimension but the first, in the order to try."""
        has_free = any(None in (spec.shape or ())[1:] for spec in self.inputs)
        return FREE_SIZES if has_free else FREE_SIZES[:1]


def pick_name(available: list[str], wanted: str | None) -> str:
    """The signature to serve: the wanted one, else TensorFlow's default, else the only one."""
    if wanted is not None and wanted in available:
        return wanted
    if wanted is None and DEFAULT_NAME in available:
        return DEFAULT_NAME
    if wanted is None and len(available) == 1:
        return available[0]
    asked = f"no signature {wanted!r}" if wanted is not None else f"no signature {DEFAULT_NAME!r}, and none was named"
    listed = ", ".join(repr(name) for name in sorted(available)) or "none"
    text = f"the model has {asked}; available: {listed}: let spec.model.signature name one, or leave it out"
    raise LoadError(LoadReason.SIGNATURE_NOT_FOUND, text)


def from_proto(name: str, signature_def: Any) -> Signature:
    """From a `SignatureDef` protobuf message."""
    inputs = tuple(_spec(key, signature_def.inputs[key]) for key in sorted(signature_def.inputs))
    outputs = tuple(_spec(key, signature_def.outputs[key]) for key in sorted(signature_def.outputs))
    if not inputs or not outputs:
        text = (
            f"the signature {name!r} has {len(inputs)} inputs and {len(outputs)} outputs; both are needed: export a "
            "function with at least one of each"
        )
        raise LoadError(LoadReason.MODEL_UNSUPPORTED, text)
    return Signature(name=name, method=signature_def.method_name, inputs=inputs, outputs=outputs)


def _spec(name: str, info: Any) -> TensorSpec:
    dtype = DType.FLOAT32 if info.dtype == _BFLOAT16_NUMBER else _DTYPE_BY_NUMBER.get(info.dtype)
    encoding = info.WhichOneof("encoding")
    if dtype is None or encoding != "name":
        raise LoadError(LoadReason.MODEL_UNSUPPORTED, f"the tensor {name!r} {_unsupported(info, encoding)}")
    if info.tensor_shape.unknown_rank:
        return TensorSpec(name=name, dtype=dtype, shape=None)
    shape = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def _unsupported(info: Any, encoding: str | None) -> str:
    """What can't be served of a tensor, and what the signature may have in its place."""
    match encoding:
        case "name":
            has = f"the type {_type_name(info)}"
            instead = "its real and imaginary parts" if info.dtype in _COMPLEX_NUMBERS else "a cast to float32 or int64"
        case "coo_sparse":
            has, instead = "the encoding coo_sparse", "its indices, values and shape as tensors, or a dense tensor"
        case _:
            has = f"the encoding {encoding}"
            instead = "its parts (of a ragged tensor values and row splits) as tensors, or a dense tensor"
    return f"has {has}, which can't be served: export a signature with {instead}"


def _type_name(info: Any) -> str:
    """As TensorFlow's enum DataType has it; a number that it lacks stays one."""
    known = info.DESCRIPTOR.fields_by_name["dtype"].enum_type.values_by_number.get(info.dtype)
    return known.name if known is not None else str(info.dtype)


def example_inputs(
    signature: Signature, rows: int, *, seed: int | None = None, free: int = 1
) -> tuple[np.ndarray[Any, Any], ...]:
    """Valid inputs of `rows` rows: zeros, or small random floats; `free` for each free dimension but the first."""
    generator = None if seed is None else np.random.default_rng(seed)
    return tuple(_example(spec, _example_shape(spec, rows, free), generator) for spec in signature.inputs)


def example_bytes(signature: Signature, rows: int, *, free: int = 1) -> int:
    """The memory that `example_inputs` would take."""
    return sum(math.prod(_example_shape(spec, rows, free)) * spec.dtype.numpy.itemsize for spec in signature.inputs)


def _example_shape(spec: TensorSpec, rows: int, free: int) -> tuple[int, ...]:
    return tuple((rows if i == 0 else free) if size is None else size for i, size in enumerate(spec.shape or ()))


def _example(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator | None) -> np.ndarray[Any, Any]:
    if spec.dtype is DType.STRING:
        return np.full(shape, b"", dtype=object)
    if generator is not None and spec.dtype.is_float:
        return np.asarray(generator.random(shape), dtype=spec.dtype.numpy)
    return np.zeros(shape, dtype=spec.dtype.numpy)
