"""The file of warm-up requests of TensorFlow Serving, written byte by byte as its protocol describes it.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_log.proto
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

PLACE = "assets.extra/tf_serving_warmup_requests"
PREDICT, CLASSIFY = 6, 2
_FLOAT, _STRING = 1, 7


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field; `payload` has fewer than 2^14 bytes."""
    assert len(payload) < 1 << 14
    size = len(payload)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + payload


def tensor(array: np.ndarray) -> bytes:
    """A TensorProto of float32 or strings."""
    dims = b"".join(field(2, b"\x08" + bytes([size])) for size in array.shape)
    if array.dtype == object:
        values = b"".join(field(8, value) for value in array.flat)
        return b"\x08" + bytes([_STRING]) + field(2, dims) + values
    return b"\x08" + bytes([_FLOAT]) + field(2, dims) + field(4, array.astype("<f4").tobytes())


def predict(inputs: Mapping[str, np.ndarray], signature: str = "") -> bytes:
    """A PredictionLog with a PredictRequest."""
    spec = field(1, field(3, signature.encode()))
    given = b"".join(field(2, field(1, name.encode()) + field(2, tensor(each))) for name, each in inputs.items())
    return field(PREDICT, field(1, spec + given))


def classify(*examples: bytes) -> bytes:
    """A PredictionLog with a ClassificationRequest for serialized tf.Examples."""
    listed = field(1, b"".join(field(1, example) for example in examples))
    return field(CLASSIFY, field(1, field(2, listed)))


def records(logs: Sequence[bytes]) -> bytes:
    """A TFRecord file; the checksums are zeros, which nobody reads."""
    return b"".join(struct.pack("<QI", len(log), 0) + log + bytes(4) for log in logs)


def write(folder: Path, logs: Sequence[bytes]) -> None:
    """The file of a SavedModel's folder."""
    path = folder / PLACE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(records(logs))
