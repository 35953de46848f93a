"""Which functions of TensorFlow may be converted: those that are plain functions of their inputs.

A converter leaves out what doesn't lead to an output, and takes what a variable holds for a constant. So a model that
checks its input would be converted without the check, and one that keeps state with the state of that moment. What an
LSTM with dropout assigns, the seed of its random numbers, leads to no output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead_runtime.model.onnx import dataflow
from fairlead_runtime.model.signature import DType, Signature, TensorSpec, dtype_number

VARIABLES_BYTES_MAX = 512 * 1024 * 1024
"""A converted model is one message of protobuf, which ends at 2 GiB, and is held several times on the way."""

_READS = frozenset({"Placeholder", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall", "While", "StatelessWhile"})
_BRANCHES = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
_ASSIGNS = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})
_LOOKS_FOR_NAN = frozenset({"IsNan", "IsInf", "IsFinite", "Equal", "NotEqual"})
_DIVISIONS = frozenset({"Div", "FloorDiv", "TruncateDiv", "RealDiv", "Mod", "FloorMod", "TruncateMod"})
_WHOLE_NUMBERS = frozenset(dtype_number(dtype) for dtype in DType if dtype.numpy.kind in "iu")
_CHECKS = frozenset({"CheckNumerics", "CheckNumericsV2", "EnsureShape"})


class CannotConvertError(Exception):
    """The model stays on TensorFlow; the text says why."""


def refuse_by_signature(signature: Signature) -> None:
    """Raises CannotConvertError by what is known without TensorFlow."""
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            _refuse_tensor(kind, spec)


def _refuse_tensor(kind: str, spec: TensorSpec) -> None:
    if spec.dtype is DType.STRING:
        raise CannotConvertError(f"its {kind} {spec.name!r} holds strings")
    if spec.shape is None:
        raise CannotConvertError(f"its {kind} {spec.name!r} has no known rank")


def refuse_by_graph(function: Any) -> None:
    """Raises CannotConvertError for a function that is not, or not surely, a plain function of its inputs."""
    size = sum((v.shape.num_elements() or 0) * int(v.dtype.size) for v in function.graph.variables)
    if size > VARIABLES_BYTES_MAX:
        raise CannotConvertError(f"its variables take {size >> 20} MiB, more than {VARIABLES_BYTES_MAX >> 20}")
    ops = {node.op for node in nodes(function)}
    if found := sorted(ops & _CHECKS):
        raise CannotConvertError(f"it checks its values ({found[0]}), which a conversion leaves out")
    if found := sorted(node.op for node in dataflow.nodes_behind_outputs(function) if _divides_whole_numbers(node)):
        # ONNX rounds towards zero, and ONNX Runtime's process ends where the least number is divided by -1.
        raise CannotConvertError(f"it divides whole numbers ({found[0]}), for which ONNX has other rules")
    library = {each.signature.name for each in function.graph.as_graph_def().library.function}
    for op in sorted(ops - _READS - _CALLS - _ASSIGNS - _BRANCHES - library):
        if function.graph.op_def_for_type(op).is_stateful:
            raise CannotConvertError(f"it keeps state or has effects between calls ({op})")
    if found := sorted(ops & _BRANCHES):
        raise CannotConvertError(f"it has branches ({found[0]}), and trials may leave one of them untried")
    _refuse_assigned(function)


def _divides_whole_numbers(node: Any) -> bool:
    return node.op in _DIVISIONS and node.attr["T"].type in _WHOLE_NUMBERS


def _refuse_assigned(function: Any) -> None:
    """An assignment is known by the type that it writes: which variable it is for, only the call would show."""
    types = {node.attr["dtype"].type for node in nodes(function) if node.op in _ASSIGNS}
    for variable in dataflow.variables_behind_outputs(function) if types else ():
        if variable.dtype.base_dtype.as_datatype_enum in types:
            name = variable.name.partition(":")[0][:100]
            raise CannotConvertError(f"its answers may depend on the variable {name!r}, which its calls change")


def looks_for_nan(function: Any) -> bool:
    """Whether it may ask which of its numbers are not finite; NaN is also what doesn't equal itself."""
    return any(node.op in _LOOKS_FOR_NAN for node in nodes(function))


def nodes(function: Any) -> Iterator[Any]:
    """All nodes of the function and of those that it may call."""
    definition = function.graph.as_graph_def()
    yield from definition.node
    for each in definition.library.function:
        yield from each.node_def
