"""The fast way: the graph with its variables as constants, called through a v1 Session in the calling thread.

Ten to thirty times faster per call than the concrete function for small models, but `_make_callable_from_options` is
private API and a wrong rank aborts the process. Inputs are checked before (inference/codec.py), and this way is
taken only for graphs without state and strings, after its answers were compared with the concrete function's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fairlead_runtime.model import tensorflow_import
from fairlead_runtime.model.predictor import (
    InputRefusedError,
    ModelFailedError,
    Predictor,
    Tensors,
    ValueFailedError,
)
from fairlead_runtime.model.predictor_function import first_line
from fairlead_runtime.model.signature import EXAMPLE_BYTES_MAX, DType, Signature, example_bytes, example_inputs

RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 1e-5
FROZEN_BYTES_MAX = 32 * 1024 * 1024
"""Of variables. A frozen graph has them as constants, copied several times on the way. It saves a fraction of a
millisecond for each call, which calls of larger models don't notice."""

# Marked as stateful because of what they may hold; what they do hold is looked at by itself, in the function library.
_WITHOUT_OWN_STATE = frozenset({"Placeholder", "While", "If", "Case", "StatefulPartitionedCall"})


class CannotFreezeError(Exception):
    """The model can't take the fast way; the text says why."""


class FrozenPredictor:
    """A Session's callable; the Session lives as long as this. `feeds` and `fetches` are in the signature's order."""

    def __init__(self, session: Any, call: Any, *, feeds: Sequence[str], fetches: Sequence[str]) -> None:
        self._session = session
        self._call = call
        self.feeds = tuple(feeds)
        self.fetches = tuple(fetches)
        errors = tensorflow_import.import_part("python.framework.errors_impl")
        self._refused = errors.InvalidArgumentError
        self._failed_by_value = (errors.InternalError, errors.OutOfRangeError)
        self._failed = errors.OpError

    @property
    def definition(self) -> Any:
        """A copy of the graph as a GraphDef, with the variables as constants."""
        return self._session.graph.as_graph_def()

    def __call__(self, inputs: Tensors) -> Tensors:
        try:
            return tuple(self._call(*inputs))
        except self._refused as error:
            raise InputRefusedError(first_line(error)) from None
        except self._failed_by_value as error:
            raise ValueFailedError(first_line(error)) from None
        except self._failed as error:
            raise ModelFailedError(first_line(error)) from None


def freeze(function: Any, signature: Signature, *, threads: int) -> FrozenPredictor:
    """Raises CannotFreezeError when the function isn't a plain function of its inputs."""
    if any(spec.dtype is DType.STRING or spec.shape is None for spec in (*signature.inputs, *signature.outputs)):
        raise CannotFreezeError("a tensor holds strings or has an unknown rank")
    variables_bytes = sum(_bytes_of(variable) for variable in function.graph.variables)
    if variables_bytes > FROZEN_BYTES_MAX:
        raise CannotFreezeError(f"its variables take {variables_bytes >> 20} MiB, more than {FROZEN_BYTES_MAX >> 20}")
    errors = tensorflow_import.import_part("python.framework.errors_impl")
    convert = tensorflow_import.import_part("python.framework.convert_to_constants")
    try:
        frozen = convert.convert_variables_to_constants_v2(function, lower_control_flow=False)
    except (ValueError, TypeError, KeyError, NotImplementedError, errors.OpError) as error:
        raise CannotFreezeError(f"its variables can't be made constants: {first_line(error)}") from None
    definition = frozen.graph.as_graph_def()
    _refuse_state(frozen.graph, definition)
    feeds = _feeds(function, frozen, signature)
    fetches = [tensor.name for tensor in frozen.outputs]
    if len(fetches) != len(signature.outputs):
        raise CannotFreezeError("its outputs can't be matched with the frozen graph's")
    return open_session(definition, feeds, fetches, threads=threads)


def agrees(one: Predictor, other: Predictor, signature: Signature) -> bool:
    """Whether both give the same for zeros and for random numbers, for one row and for two.

    Raises InputRefusedError when one of them refuses every example, and CannotFreezeError when an example is too large.
    """
    if example_bytes(signature, 2) > EXAMPLE_BYTES_MAX:
        raise CannotFreezeError("an example input would be too large for comparing the outputs")
    sizes = signature.free_sizes
    for free in sizes[:-1]:
        try:
            return _agrees_at(one, other, signature, free)
        except InputRefusedError:
            continue
    return _agrees_at(one, other, signature, sizes[-1])


def _agrees_at(one: Predictor, other: Predictor, signature: Signature, free: int) -> bool:
    for rows in (1, 2) if signature.is_batched else (1,):
        for seed in (None, 7):
            inputs = example_inputs(signature, rows, seed=seed, free=free)
            pairs = zip(one(inputs), other(inputs), strict=True)
            if not all(_is_close(a, b) for a, b in pairs):
                return False
    return True


def _is_close(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.allclose(a, b, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True))


def _bytes_of(variable: Any) -> int:
    """What a variable takes."""
    elements = variable.shape.num_elements()
    if elements is None:
        raise CannotFreezeError("the size of a variable is not known")
    return int(elements) * int(variable.dtype.size)


def _refuse_state(graph: Any, definition: Any) -> None:
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    library = {function.signature.name for function in definition.library.function}
    for op in {node.op for node in nodes} - _WITHOUT_OWN_STATE - library:
        if graph.op_def_for_type(op).is_stateful:
            raise CannotFreezeError(f"the model keeps state between calls ({op})")


def _feeds(function: Any, frozen: Any, signature: Signature) -> list[str]:
    """The placeholders, in the signature's order."""
    placeholders = {tensor.name for tensor in frozen.inputs}
    specs = function.structured_input_signature[1]
    names = [f"{specs[spec.name].name}:0" for spec in signature.inputs if spec.name in specs]
    if set(names) != placeholders or len(names) != len(signature.inputs):
        raise CannotFreezeError("its inputs can't be matched with the frozen graph's")
    return names


def open_session(graph_def: Any, feeds: Sequence[str], fetches: Sequence[str], *, threads: int) -> FrozenPredictor:
    """A graph without variables as a function that runs in the calling thread, with `threads` threads for a kernel."""
    config_pb2 = tensorflow_import.import_part("core.protobuf.config_pb2")
    graph = tensorflow_import.import_part("python.framework.ops").Graph()
    with graph.as_default():
        tensorflow_import.import_part("python.framework.importer").import_graph_def(graph_def, name="")
    config = config_pb2.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
    session = tensorflow_import.import_part("python.client.session").Session(graph=graph, config=config)
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    # -1: run in the thread that calls, instead of handing over to a pool.
    options.run_options.inter_op_thread_pool = -1
    return FrozenPredictor(session, session._make_callable_from_options(options), feeds=feeds, fetches=fetches)
