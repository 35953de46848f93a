"""Whether an answer is what was asked for, beyond its status."""

from __future__ import annotations

import json
import math
from typing import Any

from fairlead_cli.load import settings

HEADER_LENGTH = "inference-header-content-length"
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "INT8", "UINT8"), 1),
    **dict.fromkeys(("INT16", "UINT16", "FP16", "BF16"), 2),
    **dict.fromkeys(("INT32", "UINT32", "FP32"), 4),
    **dict.fromkeys(("INT64", "UINT64", "FP64"), 8),
}


def fault(asked: settings.Settings, body: bytes, header_length: str | None = None) -> str | None:
    """Says what is wrong with the body of a 2xx answer, or None.

    Knows the JSON forms of the Open Inference Protocol and of TensorFlow Serving, and the former's binary data, where
    ``header_length`` is the answer's header of that name. Source:
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
    """
    blob_bytes = 0
    if header_length is not None:
        if not header_length.isdigit() or int(header_length) > len(body):
            return f"{HEADER_LENGTH} {header_length!r} in an answer of {len(body)} bytes"
        blob_bytes = len(body) - int(header_length)
        body = body[: int(header_length)]
    try:
        answer = json.loads(body)
    except ValueError as error:
        return f"not JSON: {error}"
    if not isinstance(answer, dict):
        return "not a JSON object"
    if "predictions" in answer:
        return _predictions_fault(asked, answer["predictions"])
    if answer.get("model_name") != asked.model:
        return f"an answer for model {answer.get('model_name')!r}"
    outputs = answer.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        return "no outputs"
    announced = sum(_binary_bytes(output) or 0 for output in outputs)
    if announced != blob_bytes:
        return f"{blob_bytes} bytes of binary data, {announced} announced"
    return _output_fault(asked, outputs[0])


def _binary_bytes(output: Any) -> int | None:
    size = (output.get("parameters") or {}).get("binary_data_size")
    return size if isinstance(size, int) else None


def _predictions_fault(asked: settings.Settings, predictions: Any) -> str | None:
    if not isinstance(predictions, list) or not predictions:
        return "no predictions"
    if asked.expect_shape is not None and len(predictions) != asked.expect_shape[0]:
        return f"{len(predictions)} predictions instead of {asked.expect_shape[0]}"
    return None


def _output_fault(asked: settings.Settings, output: Any) -> str | None:
    shape, data, size = output.get("shape"), output.get("data"), _binary_bytes(output)
    if not isinstance(shape, list) or (size is None and not isinstance(data, list)):
        return "an output without shape or data"
    count = len(data) if size is None else size // _ITEM_BYTES.get(str(output.get("datatype")), 1)
    # The bytes of a string have no fixed number.
    if count != math.prod(shape) and not (size is not None and output.get("datatype") == "BYTES"):
        return f"{count} values in shape {shape}"
    if asked.expect_shape is not None and tuple(shape) != asked.expect_shape:
        return f"shape {shape} instead of {list(asked.expect_shape)}"
    if size is None and not all(isinstance(value, int | float | str) for value in data):
        return "an output with values that are neither numbers nor text"
    return None
