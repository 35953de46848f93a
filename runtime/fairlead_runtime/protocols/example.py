"""The example that a person gives with a model: `spec.model.example`, or the requests that a SavedModel carries.

Both are read as a client's request is, so what is wrong with them is said in the same words.
"""

from __future__ import annotations

from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason, RequestError
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.protocols import binary, v1_body, v2_body
from fairlead_runtime.protocols.grpc import warmup_records
from fairlead_runtime.protocols.http import parse_object

FIELD = "spec.model.example"


def read(given: str | None, folder: Path, signature: Signature) -> tuple[Tensors, ...]:
    """The inputs of one or more requests in the signature's order; empty where nobody gave any.

    `given` is a body of `POST /v2/models/NAME/infer` or `POST /v1/models/NAME:predict` and counts before the file
    `assets.extra/tf_serving_warmup_requests` of the model's folder.

    Raises:
        LoadError: one does not fit the signature (ExampleInvalid); the sentence names the field or the file.
    """
    if given is not None:
        try:
            return (_read_body(given.encode(), signature),)
        except RequestError as error:
            text = f"{FIELD}: {error.sentence}: give a request body that fits the signature {signature.name!r}"
            raise LoadError(LoadReason.EXAMPLE_INVALID, text) from None
    try:
        return warmup_records.read(folder, signature)
    except RequestError as error:
        text = f"{warmup_records.PLACE}: {error.sentence}: correct the file or remove it"
        raise LoadError(LoadReason.EXAMPLE_INVALID, text) from None


def _read_body(raw: bytes, signature: Signature) -> Tensors:
    body = parse_object(raw)
    inputs = body.get("inputs")
    if isinstance(inputs, list) and inputs and all(isinstance(each, dict) and "datatype" in each for each in inputs):
        return v2_body.read({spec.name: spec for spec in signature.inputs}, inputs, binary.Reader(memoryview(b"")))
    return v1_body.read(signature, body)
