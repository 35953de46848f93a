"""The inputs in the body of a prediction by TensorFlow Serving's REST API: rows (`instances`) or columns (`inputs`).

Source: https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import Signature, TensorSpec

ROWS, COLUMNS = "instances", "inputs"
_Convert = Callable[[TensorSpec, object], codec.Array]


def read(signature: Signature, body: Mapping[str, object], *, may_hold_booleans: bool = True) -> Tensors:
    """The tensors in the signature's order, checked against it. Raises RequestError (Malformed, InvalidInput).

    `may_hold_booleans` is what `booleans` found in the text of the body.
    """
    if (ROWS in body) == (COLUMNS in body):
        raise RequestError(
            RequestReason.MALFORMED, "the body must hold exactly one of instances (rows) and inputs (columns)"
        )

    def convert(spec: TensorSpec, value: object) -> codec.Array:
        return codec.from_json(spec, value, may_hold_booleans=may_hold_booleans)

    return _rows(signature, body[ROWS], convert) if ROWS in body else _columns(signature, body[COLUMNS], convert)


def _rows(signature: Signature, instances: object, convert: _Convert) -> Tensors:
    """Row format: a list of values where there is one input, or of objects with a value for each."""
    if not isinstance(instances, list) or not instances:
        raise _input_error("instances must be a list with at least one element")
    specs = signature.inputs
    if not isinstance(instances[0], dict) or instances[0].keys() == {"b64"}:
        if len(specs) != 1:
            raise _input_error(f"each element of instances must be an object with {_names(signature)}")
        return (convert(specs[0], instances),)
    wanted = {spec.name for spec in specs}
    for i, instance in enumerate(instances):
        if not isinstance(instance, dict) or instance.keys() != wanted:
            raise _input_error(f"instances[{i}] must be an object with exactly {_names(signature)}")
    return tuple(convert(spec, [instance[spec.name] for instance in instances]) for spec in specs)


def _columns(signature: Signature, inputs: object, convert: _Convert) -> Tensors:
    specs = signature.inputs
    if isinstance(inputs, dict) and inputs.keys() != {"b64"}:
        if inputs.keys() != {spec.name for spec in specs}:
            raise _input_error(f"inputs must hold exactly {_names(signature)}")
        return tuple(convert(spec, inputs[spec.name]) for spec in specs)
    if len(specs) != 1:
        raise _input_error(f"inputs must be an object with {_names(signature)}")
    return (convert(specs[0], inputs),)


def _names(signature: Signature) -> str:
    return ", ".join(repr(spec.name) for spec in signature.inputs)


def _input_error(text: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, text)
