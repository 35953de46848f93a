"""Calls a converted model by ONNX Runtime, in the calling thread and without TensorFlow."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np

from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Tensors
from fairlead_runtime.model.signature import Signature

SENTENCE_CHARS_MAX = 300
# What ONNX Runtime puts in front of what went wrong: its own place in the source, and the node.
_FRAME = re.compile(r"^.*(?:Status Message: |\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : )", re.DOTALL)
_OUT_OF_BOUNDS = "indices element out of data bounds"
_PLACE = re.compile(r"\S*onnxruntime\S*/\S+\s")


_WANT_OF_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")


class CannotOpenError(Exception):
    """ONNX Runtime does not take the file; the text says why."""


class OnnxPredictor:
    """A session, which may be called from several threads at once."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._run = session.run
        self._names = [tensor.name for tensor in session.get_inputs()]
        self._outputs = [tensor.name for tensor in session.get_outputs()]
        errors = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        self._refused = errors.InvalidArgument
        self._failed = (errors.Fail, errors.RuntimeException, errors.EPFail, errors.NotImplemented)

    def __call__(self, inputs: Tensors) -> Tensors:
        try:
            return tuple(self._run(self._outputs, dict(zip(self._names, inputs, strict=True))))
        except self._refused as error:
            raise InputRefusedError(first_sentence(str(error))) from None
        except self._failed as error:
            raise ModelFailedError(first_sentence(str(error))) from None


def open_model(content: bytes, signature: Signature, *, threads: int) -> OnnxPredictor:
    """From the bytes of an ONNX file, whose tensors are in the signature's order; raises CannotOpenError."""
    runtime = importlib.import_module("onnxruntime")
    errors = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Threads that wait in a loop would take the processor from the server.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidGraph, errors.InvalidProtobuf, errors.InvalidArgument, errors.NotImplemented) as error:
        raise CannotOpenError(first_sentence(str(error))) from None
    except (errors.Fail, errors.RuntimeException) as error:
        raise CannotOpenError(first_sentence(str(error))) from None
    # The session keeps the file, beside its own copy of the weights, for a change to other providers. There is none.
    session.disable_fallback()
    session._model_bytes = None
    for found, specs in ((session.get_inputs(), signature.inputs), (session.get_outputs(), signature.outputs)):
        if [_dtype(tensor.type) for tensor in found] != [spec.dtype.numpy for spec in specs]:
            raise CannotOpenError("its tensors are not those of the signature")
    return OnnxPredictor(session, signature)


def is_want_of_memory(text: str) -> bool:
    """Whether ONNX Runtime says that it got no memory, which it does by errors of several types."""
    return any(sign in text for sign in _WANT_OF_MEMORY)


def first_sentence(text: str) -> str:
    """What went wrong, without ONNX Runtime's own frame around it."""
    bare = _PLACE.sub("", _FRAME.sub("", text)).strip()
    if _OUT_OF_BOUNDS in bare:
        # Its own figures are those after negative indices were replaced (rewriting.py).
        return "an index is outside the table that it is for"
    return bare.splitlines()[0][:SENTENCE_CHARS_MAX] if bare else "ONNX Runtime gives no reason"


_DTYPES = {"float": np.float32, "double": np.float64, "float16": np.float16}


def _dtype(text: str) -> np.dtype[Any] | None:
    """The type in `tensor(float)`; None for what no signature holds."""
    name = text.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(_DTYPES.get(name, name))
    except TypeError:
        return None
