"""The requests that a SavedModel carries for its warm-up: `assets.extra/tf_serving_warmup_requests`.

The file is a TFRecord file of PredictionLogs. Its checksums are not read: the digest covers the whole content.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/saved_model_warmup.md
Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/prediction_log.proto
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/lib/io/record_writer.h
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DEFAULT_NAME, Signature
from fairlead_runtime.protocols.grpc import v1_inputs
from fairlead_runtime.protocols.grpc.schema import Message, build, one
from fairlead_runtime.protocols.grpc.v1_messages import MESSAGES

PLACE = "assets.extra/tf_serving_warmup_requests"
RECORDS_MAX = 32
"""Records behind these are not read."""
BYTES_MAX = 16 * 1024 * 1024
"""All records that are read."""

_HEAD = struct.Struct("<QI")
_CHECKSUM_BYTES = 4
# The requests stay bytes, and are read as the messages of the API.
_LOGS = build(
    "tensorflow.serving",
    {
        "PredictionLog": (
            one(2, "RequestLog", "classify_log"),
            one(3, "RequestLog", "regress_log"),
            one(6, "RequestLog", "predict_log"),
        ),
        "RequestLog": (one(1, "bytes", "request"),),
    },
)
_KINDS = {
    "predict_log": "PredictRequest",
    "classify_log": "ClassificationRequest",
    "regress_log": "RegressionRequest",
}


def read(folder: Path, signature: Signature) -> tuple[Tensors, ...]:
    """The inputs of the requests for this signature; empty where there is no file, or no request for it.

    Raises:
        RequestError: a record can't be read, is too large, or does not fit the signature; the text names it.
    """
    path = folder / PLACE
    if not path.is_file():
        return ()
    found: list[Tensors] = []
    with path.open("rb") as file:
        for number, record in enumerate(_records(file), start=1):
            try:
                inputs = _inputs(record, signature)
            except RequestError as error:
                raise RequestError(error.reason, f"record {number}: {error.sentence}") from None
            found += [] if inputs is None else [inputs]
    return tuple(found)


def _records(file: BinaryIO) -> Iterator[bytes]:
    left = BYTES_MAX
    for number in range(1, RECORDS_MAX + 1):
        head = file.read(_HEAD.size)
        if not head:
            return
        size = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else left + 1
        left -= size
        if left < 0:
            text = f"record {number} is damaged, or the first {RECORDS_MAX} records have more than {BYTES_MAX} bytes"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        record = file.read(size)
        if len(record) != size or len(file.read(_CHECKSUM_BYTES)) != _CHECKSUM_BYTES:
            raise RequestError(RequestReason.MALFORMED, f"record {number} is cut off")
        yield record


def _inputs(record: bytes, signature: Signature) -> Tensors | None:
    """None for a request to another signature, and for kinds of requests that a replica does not answer."""
    log = _parse(record, _LOGS["PredictionLog"])
    for field, kind in _KINDS.items():
        if log.HasField(field):
            request = _parse(getattr(log, field).request, MESSAGES[kind])
            if (request.model_spec.signature_name or DEFAULT_NAME) != signature.name:
                return None
            if kind == "PredictRequest":
                return v1_inputs.read_tensors(signature, request.inputs)
            return v1_inputs.read(signature, request.input, body_bytes_max=BYTES_MAX)
    return None


def _parse(content: bytes, kind: type[Message]) -> Message:
    try:
        return kind.FromString(content)
    except DecodeError:
        text = f"it can't be read as a {kind.DESCRIPTOR.name}"
        raise RequestError(RequestReason.MALFORMED, text) from None
