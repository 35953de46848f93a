"""The inputs in the body of an inference by the Open Inference Protocol, and the parameters of its parts.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Mapping

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import TensorSpec
from fairlead_runtime.protocols import binary, datatypes
from fairlead_runtime.protocols.http import show_value
from fairlead_runtime.protocols.parameters import refuse_unknown

_OF_INPUTS = frozenset({"binary_data_size"})


def read(
    specs: Mapping[str, TensorSpec], given: object, reader: binary.Reader, *, may_hold_booleans: bool = True
) -> Tensors:
    """The tensors of the list `inputs` in the order of `specs`, by name; raises RequestError.

    `reader` has the binary data behind the JSON. `may_hold_booleans` is what `booleans` found in the lists of the JSON.
    """
    if not isinstance(given, list):
        raise RequestError(RequestReason.MALFORMED, "inputs must be a list of tensors")
    by_name: dict[str, codec.Array] = {}
    for item in given:
        if not isinstance(item, dict):
            raise RequestError(RequestReason.MALFORMED, "each element of inputs must be an object")
        spec = _find(specs, item.get("name"))
        if spec.name in by_name:
            raise RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r} is listed twice")
        by_name[spec.name] = _tensor(spec, item, reader, may_hold_booleans=may_hold_booleans)
    missing = [name for name in specs if name not in by_name]
    if missing:
        raise RequestError(RequestReason.INVALID_INPUT, f"input {missing[0]!r} is missing")
    return tuple(by_name[name] for name in specs)


def parameters(what: str, item: Mapping[str, object], known: frozenset[str]) -> dict[str, object]:
    """The parameters of a request or a tensor. Raises RequestError for one that would be ignored."""
    given = item.get("parameters")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise RequestError(RequestReason.MALFORMED, f"{what}: parameters must be an object")
    refuse_unknown(what, given, known)
    return given


def _find(specs: Mapping[str, TensorSpec], name: object) -> TensorSpec:
    spec = specs.get(name) if isinstance(name, str) else None
    if spec is None:
        known = ", ".join(repr(known) for known in specs)
        raise RequestError(RequestReason.INVALID_INPUT, f"there is no input {show_value(name)}; the model has {known}")
    return spec


def _tensor(
    spec: TensorSpec, item: Mapping[str, object], reader: binary.Reader, *, may_hold_booleans: bool
) -> codec.Array:
    datatype = item.get("datatype")
    if datatype != datatypes.NAMES[spec.dtype]:
        text = f"input {spec.name!r}: expected datatype {datatypes.NAMES[spec.dtype]}, got {show_value(datatype)}"
        raise RequestError(RequestReason.INVALID_INPUT, text)
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(
        type(size) is int and 0 <= size <= codec.SIZE_MAX for size in shape[: codec.RANK_MAX]
    ):
        text = f"input {spec.name!r}: shape must be a list of whole numbers from 0 to {codec.SIZE_MAX}"
        raise RequestError(RequestReason.INVALID_INPUT, text)
    codec.count_elements(spec, shape)
    size = parameters(f"input {spec.name!r}", item, _OF_INPUTS).get("binary_data_size")
    if size is not None:
        return codec.check_array(spec, reader.read(spec, size, shape))
    if "data" not in item:
        raise RequestError(RequestReason.INVALID_INPUT, f"input {spec.name!r}: data is missing")
    return codec.from_flat(spec, item["data"], shape, may_hold_booleans=may_hold_booleans)
