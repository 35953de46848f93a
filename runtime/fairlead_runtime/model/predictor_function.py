"""The general way to call a model: its concrete function, with all TensorFlow can do (tables, strings, state)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead_runtime.model import tensorflow_import
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Tensors, ValueFailedError
from fairlead_runtime.model.signature import Signature

# Lines that TensorFlow puts around what went wrong.
_FRAME = ("Graph execution error", "Detected at node", "File ", "<stack traces", "[[", "Stack trace", "^")


class FunctionPredictor:
    """Calls `function(**inputs)`, which gives a dict of tensors; keeps what owns the variables alive."""

    def __init__(self, function: Any, signature: Signature, owner: object) -> None:
        self.function = function
        self._owner = owner
        self._inputs = tuple((spec.name, spec.dtype.value) for spec in signature.inputs)
        self._outputs = tuple(spec.name for spec in signature.outputs)
        self._constant = tensorflow_import.import_part("python.framework.constant_op").constant
        errors = tensorflow_import.import_part("python.framework.errors_impl")
        self._refused = errors.InvalidArgumentError
        self._failed_by_value = (errors.InternalError, errors.OutOfRangeError)
        self._failed = errors.OpError

    def __call__(self, inputs: Tensors) -> Tensors:
        named = zip(self._inputs, inputs, strict=True)
        tensors = {name: self._constant(value, dtype=dtype) for (name, dtype), value in named}
        results = self.run(self.function, tensors)
        return tuple(np.asarray(results[name].numpy()) for name in self._outputs)

    def run(self, function: Any, tensors: Mapping[str, Any]) -> Any:
        """What a function of this model gives for tensors by name; raises what a Predictor raises."""
        try:
            return function(**tensors)
        except self._refused as error:
            raise InputRefusedError(first_line(error)) from None
        except self._failed_by_value as error:
            raise ValueFailedError(first_line(error)) from None
        except self._failed as error:
            raise ModelFailedError(first_line(error)) from None


def first_line(error: Any) -> str:
    """What went wrong, without the stack and the nodes around it."""
    text = str(getattr(error, "message", None) or error)
    lines = (line.strip() for line in text.splitlines())
    kept = (line for line in lines if line and not line.startswith(_FRAME))
    return next(kept, type(error).__name__)[:300]
