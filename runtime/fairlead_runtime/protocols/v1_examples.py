"""Classify and regress by REST: the features of `tf.Example`s in, pairs of labels and scores out.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/feature.proto
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.protocols import v1_results

EXPANDED_PER_BYTE = 4
"""All examples, each with the context, may be this much larger than the largest body. JSON alone never is: `[-1,-1]`
has 3 characters for each 10 bytes.
"""

DECODING_PER_BYTE = 8
"""How much longer than JSON of numbers the same bytes of examples are taken to keep the server's loop."""

_INT64 = range(-(2**63), 2**63)


def inputs(signature: Signature, body: Mapping[str, object], *, body_bytes_max: int) -> Tensors:
    """The serialized examples as the one string tensor that such a signature takes.

    Raises:
        RequestError: what is no example, or examples that are too large with their context (TooLarge).
    """
    examples = body.get("examples")
    context = body.get("context", {})
    if not isinstance(examples, list) or not examples or not isinstance(context, dict):
        raise RequestError(
            RequestReason.INVALID_INPUT, "examples must be a list with at least one object, context an object"
        )
    own = []
    for i, example in enumerate(examples):
        if not isinstance(example, dict) or example.keys() & context.keys():
            text = f"examples[{i}] must be an object, and must not repeat a feature of context"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        own.append(_entries(example))
    shared = _entries(context)
    require_room(shared, own, body_bytes_max)
    serialized = np.empty(len(own), dtype=object)
    serialized[:] = [_field(1, shared + entries) for entries in own]
    return (codec.check_array(signature.inputs[0], serialized),)


def require_room(context: bytes, examples: Sequence[bytes], body_bytes_max: int) -> None:
    """Raises RequestError (TooLarge) where the examples, each with a copy of the context, are too large."""
    size = len(context) * len(examples) + sum(map(len, examples))
    if size > (size_max := body_bytes_max * EXPANDED_PER_BYTE):
        text = (
            f"the examples have {size} bytes, counting the context once for each; at most {size_max} are allowed: send "
            "fewer examples in a request, or a smaller context"
        )
        raise RequestError(RequestReason.TOO_LARGE, text)


def classes_to_json(classes: v1_results.Classes) -> list[object]:
    """`[[label, score], …]` for each example. A label that the model doesn't give is empty, such a score 0."""
    rows, columns = classes.shape
    labels = np.full((rows, columns), b"", dtype=object) if classes.labels is None else classes.labels
    scores = np.zeros((rows, columns)) if classes.scores is None else classes.scores
    texts: Any = codec.to_json(labels)
    return [
        [[label, codec.number_to_json(score)] for label, score in zip(*row, strict=True)]
        for row in zip(texts, scores.tolist(), strict=True)
    ]


def _entries(features: Mapping[str, object]) -> bytes:
    """What field 1 of a serialized `tf.Example` holds: Features, whose field 1 is a map of name to Feature."""
    return b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _feature(name, value)))
        for name, value in sorted(features.items())
    )


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
