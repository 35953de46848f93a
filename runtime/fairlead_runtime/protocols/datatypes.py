"""A tensor's type and shape in the words of the Open Inference Protocol."""

from __future__ import annotations

from fairlead_runtime.model.signature import DType, TensorSpec

NAMES = {
    DType.BOOL: "BOOL",
    DType.UINT8: "UINT8",
    DType.UINT16: "UINT16",
    DType.UINT32: "UINT32",
    DType.UINT64: "UINT64",
    DType.INT8: "INT8",
    DType.INT16: "INT16",
    DType.INT32: "INT32",
    DType.INT64: "INT64",
    DType.FLOAT16: "FP16",
    DType.FLOAT32: "FP32",
    DType.FLOAT64: "FP64",
    DType.STRING: "BYTES",
}


def describe(spec: TensorSpec) -> dict[str, object]:
    """As metadata shows it: -1 for a free dimension; one free dimension where the rank is unknown."""
    shape = [-1] if spec.shape is None else [-1 if size is None else size for size in spec.shape]
    return {"name": spec.name, "datatype": NAMES[spec.dtype], "shape": shape}
