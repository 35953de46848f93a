"""Whether an answer is what was asked for, beyond its status."""

from __future__ import annotations

import json
import math
from typing import Any

from fairlead_cli.load import settings


def fault(asked: settings.Settings, body: bytes) -> str | None:
    """Says what is wrong with the body of a 2xx answer, or None.

    Knows the JSON forms of the Open Inference Protocol and of TensorFlow Serving.
    """
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
    return _output_fault(asked, outputs[0])


def _predictions_fault(asked: settings.Settings, predictions: Any) -> str | None:
    if not isinstance(predictions, list) or not predictions:
        return "no predictions"
    if asked.expect_shape is not None and len(predictions) != asked.expect_shape[0]:
        return f"{len(predictions)} predictions instead of {asked.expect_shape[0]}"
    return None


def _output_fault(asked: settings.Settings, output: Any) -> str | None:
    shape, data = output.get("shape"), output.get("data")
    if not isinstance(shape, list) or not isinstance(data, list):
        return "an output without shape or data"
    if len(data) != math.prod(shape):
        return f"{len(data)} values in shape {shape}"
    if asked.expect_shape is not None and tuple(shape) != asked.expect_shape:
        return f"shape {shape} instead of {list(asked.expect_shape)}"
    if not all(isinstance(value, int | float | str) for value in data):
        return "an output with values that are neither numbers nor text"
    return None
