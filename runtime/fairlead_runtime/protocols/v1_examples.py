"""Classify and regress: `tf.Example` features in, labels and scores or numbers out.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Mapping

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature

Encoder = Callable[[Tensors], list[object]]
_INT64 = range(-(2**63), 2**63)


def inputs(signature: Signature, body: Mapping[str, object]) -> Tensors:
    """The serialized examples as the one string tensor that such a signature takes."""
    examples = body.get("examples")
    context = body.get("context", {})
    if not isinstance(examples, list) or not examples or not isinstance(context, dict):
        raise RequestError(
            RequestReason.INVALID_INPUT, "examples must be a list with at least one object, context an object"
        )
    serialized = np.empty(len(examples), dtype=object)
    for i, example in enumerate(examples):
        if not isinstance(example, dict) or example.keys() & context.keys():
            text = f"examples[{i}] must be an object, and must not repeat a feature of context"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        serialized[i] = _example({**context, **example})
    return (codec.check_array(signature.inputs[0], serialized),)


def classifier(signature: Signature) -> Encoder:
    """How outputs become `[[label, score], …]` for each example; raises RequestError for what is no classifier."""
    _require_examples(signature, "classify")
    at = {spec.name: i for i, spec in enumerate(signature.outputs)}
    if not at.keys() & {"classes", "scores"}:
        raise _unsupported_error(signature, "classify", "an output named classes or scores")

    def encode(outputs: Tensors) -> list[object]:
        scores = outputs[at["scores"]].tolist() if "scores" in at else None
        classes = codec.to_json(outputs[at["classes"]]) if "classes" in at else None
        count = len(outputs[0])
        return [
            _pairs(classes[i] if isinstance(classes, list) else None, scores[i] if scores else None)
            for i in range(count)
        ]

    return encode


def regressor(signature: Signature) -> Encoder:
    """How the output becomes one number for each example; raises RequestError where the model is no regressor."""
    _require_examples(signature, "regress")
    if len(signature.outputs) != 1 or not signature.outputs[0].dtype.is_float:
        raise _unsupported_error(signature, "regress", "exactly one float output")

    def encode(outputs: Tensors) -> list[object]:
        values = outputs[0]
        if values.size != len(values):
            raise RequestError(
                RequestReason.INVALID_INPUT, "regress: the model returns more than one number for each example"
            )
        return list(values.reshape(-1).tolist())

    return encode


def _pairs(classes: object, scores: object) -> object:
    labels = classes if isinstance(classes, list) else None
    numbers = scores if isinstance(scores, list) else None
    count = len(labels or numbers or ())
    return [[labels[i] if labels else "", numbers[i] if numbers else 0.0] for i in range(count)]


def _require_examples(signature: Signature, verb: str) -> None:
    if len(signature.inputs) != 1 or signature.inputs[0].dtype is not DType.STRING:
        raise _unsupported_error(signature, verb, "one input of serialized tf.Example strings")


def _unsupported_error(signature: Signature, verb: str, needs: str) -> RequestError:
    text = f"{verb} needs a signature with {needs}, which {signature.name!r} does not have; use predict"
    return RequestError(RequestReason.INVALID_INPUT, text)


def _example(features: Mapping[str, object]) -> bytes:
    """A serialized `tf.Example`: field 1 of Example is Features, whose field 1 is a map of name to Feature."""
    entries = (
        _field(1, _field(1, name.encode()) + _field(2, _feature(name, value)))
        for name, value in sorted(features.items())
    )
    return _field(1, b"".join(entries))


def _feature(name: str, value: object) -> bytes:
    """Field 1 is a list of bytes, 2 of floats, 3 of 64-bit integers; each has its values in field 1."""
    values = value if isinstance(value, list) else [value]
    integers = [v for v in values if type(v) is int and v in _INT64]
    if values and len(integers) == len(values):
        return _field(3, _field(1, b"".join(_varint(v & (2**64 - 1)) for v in integers)))
    if values and all(type(v) in (int, float) for v in values):
        try:
            return _field(2, _field(1, struct.pack(f"<{len(values)}f", *values)))
        except (OverflowError, struct.error):
            raise RequestError(
                RequestReason.INVALID_INPUT, f"feature {name[:64]!r}: a number is outside the range of float32"
            ) from None
    return _field(1, b"".join(_field(1, _bytes(name, v)) for v in values))


def _bytes(name: str, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            pass
    text = f'feature {name[:64]!r}: values must all be numbers, strings, or objects {{"b64": "…"}}'
    raise RequestError(RequestReason.INVALID_INPUT, text)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
