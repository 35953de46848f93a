"""The inputs of a gRPC request: tensors by name, or `tf.Example`s as the one string tensor that a signature takes.

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/apis/input.proto
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from google.protobuf.message import DecodeError

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.protocols import v1_examples
from fairlead_runtime.protocols.grpc import tensor_proto
from fairlead_runtime.protocols.grpc.schema import Message
from fairlead_runtime.protocols.grpc.v1_messages import MESSAGES

LIST, LIST_WITH_CONTEXT = "example_list", "example_list_with_context"


def read(signature: Signature, given: Message, *, body_bytes_max: int) -> Tensors:
    """The serialized examples, each with the context's features; raises RequestError, also where they are too large.

    A message's bytes behind another's add its fields, so an example follows the context. Both are read before: the
    model gets no bytes that are no example.
    """
    has_context = given.HasField(LIST_WITH_CONTEXT)
    if has_context == given.HasField(LIST):
        raise _input_error(f"input: exactly one of {LIST} and {LIST_WITH_CONTEXT} must be set")
    field = f"input.{LIST_WITH_CONTEXT if has_context else LIST}"
    listed = given.example_list_with_context if has_context else given.example_list
    if not listed.examples:
        raise _input_error(f"{field}.examples: at least one example is needed")
    context = listed.context if has_context else b""
    v1_examples.require_room(context, listed.examples, body_bytes_max)
    shared = _names(context, f"{field}.context")
    serialized = np.empty(len(listed.examples), dtype=object)
    for i, example in enumerate(listed.examples):
        repeated = sorted(_names(example, f"{field}.examples[{i}]") & shared)
        if repeated:
            raise _input_error(f"{field}.examples[{i}]: the feature {repeated[0][:64]!r} is in the context already")
        serialized[i] = context + example
    return (codec.check_array(signature.inputs[0], serialized),)


def read_tensors(signature: Signature, given: Mapping[str, Message]) -> Tensors:
    """The TensorProtos of a prediction by the inputs' names, in the signature's order; raises RequestError."""
    specs = {spec.name: spec for spec in signature.inputs}
    if given.keys() != specs.keys():
        names = ", ".join(repr(name) for name in specs)
        raise _input_error(f"inputs must hold exactly {names}")
    return tuple(tensor_proto.read(spec, given[name]) for name, spec in specs.items())


def _names(example: bytes, field: str) -> set[str]:
    """The names of an example's features; raises RequestError for what is no example."""
    try:
        return set(MESSAGES["Example"].FromString(example).features.feature)
    except DecodeError:
        raise _input_error(f"{field}: can't be read as a tf.Example") from None


def _input_error(text: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, text)
