"""What a model's outputs mean in TensorFlow Serving's classify and regress, for REST and gRPC.

TensorFlow 2 saves each signature with the method predict, so what counts is what the signature has, not its method.
Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/servables/tensorflow/classifier.cc
Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/servables/tensorflow/regressor.cc
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference.codec import Array
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

CLASSIFY, REGRESS = "classify", "regress"
LABELS, SCORES = "classes", "scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Matrices of shape [examples, classes]: strings, and floats. At least one is there, and both have one shape."""

    labels: Array | None
    scores: Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """How many examples, and classes of each."""
        found = self.labels if self.labels is not None else self.scores
        if found is None:
            return 0, 0
        return found.shape[0], found.shape[1]


def classifier(signature: Signature) -> Callable[[Tensors, int], Classes]:
    """How outputs become classes of that many examples; raises RequestError for a signature that is no classifier's."""
    _require_examples(signature, CLASSIFY)
    at = {spec.name: (i, spec) for i, spec in enumerate(signature.outputs)}
    labels_at, labels_spec = at.get(LABELS, (None, None))
    scores_at, scores_spec = at.get(SCORES, (None, None))
    if labels_spec is None and scores_spec is None:
        needs = "an output named classes with strings or one named scores with floats"
        raise _unsupported_error(signature, CLASSIFY, needs)
    if labels_spec is not None and labels_spec.dtype is not DType.STRING:
        raise _type_error(signature, labels_spec, "strings")
    if scores_spec is not None and not scores_spec.dtype.is_float:
        raise _type_error(signature, scores_spec, "floats")

    def read(outputs: Tensors, examples: int) -> Classes:
        labels = _matrix(LABELS, outputs[labels_at], examples) if labels_at is not None else None
        scores = _matrix(SCORES, outputs[scores_at], examples) if scores_at is not None else None
        if labels is not None and scores is not None and labels.shape != scores.shape:
            text = f"classify: the outputs classes {list(labels.shape)} and scores {list(scores.shape)} differ in shape"
            raise RequestError(RequestReason.INVALID_INPUT, text)
        return Classes(labels=labels, scores=scores)

    return read


def regressor(signature: Signature) -> Callable[[Tensors, int], list[float]]:
    """How the output becomes one number for each of that many examples; raises RequestError where it is none."""
    _require_examples(signature, REGRESS)
    if len(signature.outputs) != 1 or not signature.outputs[0].dtype.is_float:
        raise _unsupported_error(signature, REGRESS, "exactly one float output")

    def read(outputs: Tensors, examples: int) -> list[float]:
        values = outputs[0]
        if not values.ndim or values.size != examples or len(values) != examples:
            text = (
                f"regress: the model's output has the shape {list(values.shape)}, not one number for each of "
                f"{examples} examples"
            )
            raise RequestError(RequestReason.INVALID_INPUT, text)
        numbers: list[float] = values.reshape(-1).tolist()
        return numbers

    return read


def _matrix(name: str, array: Array, examples: int) -> Array:
    if array.ndim != 2 or len(array) != examples:
        text = (
            f"classify: the output {name} has the shape {list(array.shape)}; it must be [examples, classes], of "
            f"{examples} examples"
        )
        raise RequestError(RequestReason.INVALID_INPUT, text)
    return array


def _require_examples(signature: Signature, verb: str) -> None:
    if len(signature.inputs) != 1 or signature.inputs[0].dtype is not DType.STRING:
        raise _unsupported_error(signature, verb, "one input of serialized tf.Example strings")


def _type_error(signature: Signature, spec: TensorSpec, needed: str) -> RequestError:
    text = (
        f"classify needs {needed} in the output named {spec.name}, which has {spec.dtype.value} in {signature.name!r}; "
        "use predict"
    )
    return RequestError(RequestReason.INVALID_INPUT, text)


def _unsupported_error(signature: Signature, verb: str, needs: str) -> RequestError:
    text = f"{verb} needs a signature with {needs}, which {signature.name!r} does not have; use predict"
    return RequestError(RequestReason.INVALID_INPUT, text)
