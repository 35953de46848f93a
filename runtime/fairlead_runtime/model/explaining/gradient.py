"""The gradient of one score with respect to a model's input, by TensorFlow.

It comes out of what the replica has loaded already: the frozen graph, imported once more, or the concrete function. It
is made at the first request that needs it, because many replicas are never asked for an explanation.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any, Protocol

import numpy as np

from fairlead_runtime.model import predictor_frozen, predictor_function, tensorflow_import
from fairlead_runtime.model.predictor import Array, Predictor
from fairlead_runtime.model.signature import Signature

LOG = logging.getLogger(__name__)

_TARGET = "fairlead_target"


class CannotDifferentiateError(Exception):
    """The model has no gradient with respect to its input; the text says why."""


class Gradient(Protocol):
    """The scores of one class, of shape [rows], and their gradient, of the shape of `rows`.

    Each row must be independent of the others: the gradient is that of the sum of all scores. Raises what a Predictor
    raises.
    """

    def __call__(self, rows: Array, target: int) -> tuple[Array, Array]: ...


def open_gradient(predictor: Predictor, signature: Signature, output: int) -> Gradient:
    """The gradient of output number `output` of a model with one input; raises CannotDifferentiateError."""
    if not signature.inputs[0].dtype.is_float:
        raise CannotDifferentiateError(f"the input holds {signature.inputs[0].dtype.value}, which has no gradient")
    if not signature.outputs[output].dtype.is_float:
        raise CannotDifferentiateError(f"the output holds {signature.outputs[output].dtype.value}, not floats")
    if not isinstance(predictor, predictor_frozen.FrozenPredictor | predictor_function.FunctionPredictor):
        raise CannotDifferentiateError("only TensorFlow computes gradients, and another engine serves the model")
    failed = tensorflow_import.import_part("python.framework.errors_impl").OpError
    try:
        if isinstance(predictor, predictor_frozen.FrozenPredictor):
            return _open_frozen(predictor, output)
        return _open_function(predictor, signature, output)
    except (LookupError, RuntimeError, TypeError, ValueError, failed) as error:
        # What TensorFlow raises depends on the part of the graph, and a gradient of its own can raise anything of this.
        LOG.warning("the gradient of output %r can't be made", signature.outputs[output].name, exc_info=True)
        text = f"TensorFlow can't make the gradient: {predictor_function.first_line(error)}"
        raise CannotDifferentiateError(text) from None


def _open_frozen(predictor: predictor_frozen.FrozenPredictor, output: int) -> Gradient:
    graph = tensorflow_import.import_part("python.framework.ops").Graph()
    dtypes = tensorflow_import.import_part("python.framework.dtypes")
    placeholder = tensorflow_import.import_part("python.ops.array_ops").placeholder
    with graph.as_default():
        tensorflow_import.import_part("python.framework.importer").import_graph_def(predictor.definition, name="")
        rows = graph.get_tensor_by_name(predictor.feeds[0])
        target = placeholder(dtypes.int32, [], name=_TARGET)
        scores, gradient = _differentiate(rows, graph.get_tensor_by_name(predictor.fetches[output]), target)
    # One thread, the one that calls: the processors are for predictions.
    opened = predictor_frozen.open_session(
        graph.as_graph_def(), [rows.name, target.name], [scores.name, gradient.name], threads=1
    )

    def call(rows: Array, target: int) -> tuple[Array, Array]:
        scores, gradient = opened((rows, np.asarray(target, dtype=np.int32)))
        return scores, gradient

    return call


def _open_function(predictor: predictor_function.FunctionPredictor, signature: Signature, output: int) -> Gradient:
    dtypes = tensorflow_import.import_part("python.framework.dtypes")
    tensor_spec = tensorflow_import.import_part("python.framework.tensor_spec").TensorSpec
    def_function = tensorflow_import.import_part("python.eager.def_function")
    constant = tensorflow_import.import_part("python.framework.constant_op").constant
    spec, wanted = signature.inputs[0], signature.outputs[output].name

    def compute(rows: Any, target: Any) -> Any:
        return _differentiate(rows, predictor.function(**{spec.name: rows})[wanted], target)

    traced = def_function.function(compute, autograph=False).get_concrete_function(
        rows=tensor_spec(spec.shape, dtypes.as_dtype(spec.dtype.value), "rows"),
        target=tensor_spec([], dtypes.int32, "target"),
    )

    def call(rows: Array, target: int) -> tuple[Array, Array]:
        given = {"rows": constant(rows), "target": constant(target, dtype=dtypes.int32)}
        scores, gradient = predictor.run(traced, given)
        return np.asarray(scores.numpy()), np.asarray(gradient.numpy())

    return call


def _differentiate(rows: Any, scores: Any, target: Any) -> tuple[Any, Any]:
    """Symbolic: the scores of one class and their gradient. `scores` is [rows] or [rows, classes]."""
    math_ops = tensorflow_import.import_part("python.ops.math_ops")
    array_ops = tensorflow_import.import_part("python.ops.array_ops")
    gradients = tensorflow_import.import_part("python.ops.gradients_impl").gradients
    convert = tensorflow_import.import_part("python.framework.ops").convert_to_tensor
    if scores.shape.rank == 2:
        mask = array_ops.one_hot(target, array_ops.shape(scores)[1], dtype=scores.dtype)
        scores = math_ops.reduce_sum(scores * mask, axis=1)
    elif scores.shape.rank != 1:
        raise CannotDifferentiateError("the rank of the output is not known")
    with warnings.catch_warnings():
        # A gradient in slices takes more memory as a tensor; the input's bounds hold for it.
        warnings.simplefilter("ignore", UserWarning)
        found = gradients(scores, rows)[0]
        gradient = None if found is None else convert(found)
    if gradient is None:
        raise CannotDifferentiateError("its output does not depend on its input in a way that has a gradient")
    return array_ops.identity(scores), array_ops.identity(gradient)
