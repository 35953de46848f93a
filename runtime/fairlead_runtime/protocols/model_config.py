"""What a model takes and gives, in the words of Triton's model configuration extension, for clients that ask for it.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_model_configuration.md
Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

from typing import Any

from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.model.signature import DType, TensorSpec
from fairlead_runtime.protocols import datatypes

# Numbers of the enum DataType, which JSON has by their names.
_TYPES = (
    DType.BOOL,
    DType.UINT8,
    DType.UINT16,
    DType.UINT32,
    DType.UINT64,
    DType.INT8,
    DType.INT16,
    DType.INT32,
    DType.INT64,
    DType.FLOAT16,
    DType.FLOAT32,
    DType.FLOAT64,
    DType.STRING,
)
NUMBERS = {dtype: number for number, dtype in enumerate(_TYPES, 1)}


def describe(dataplane: Dataplane, *, by_number: bool) -> dict[str, Any]:
    """The fields of a ModelConfig; types of tensors are names in JSON and numbers in a message.

    `max_batch_size` is 0: the shapes are whole, with -1 where a dimension is free, and a request may have any number
    of rows.
    """
    signature = dataplane.signature
    return {
        "name": dataplane.identity.model,
        "platform": "tensorflow_savedmodel",
        "max_batch_size": 0,
        "input": [_tensor(spec, by_number=by_number) for spec in signature.inputs],
        "output": [_tensor(spec, by_number=by_number) for spec in signature.outputs],
    }


def _tensor(spec: TensorSpec, *, by_number: bool) -> dict[str, Any]:
    name = "STRING" if spec.dtype is DType.STRING else datatypes.NAMES[spec.dtype]
    return {
        "name": spec.name,
        "data_type": NUMBERS[spec.dtype] if by_number else f"TYPE_{name}",
        "dims": datatypes.describe(spec)["shape"],
    }
