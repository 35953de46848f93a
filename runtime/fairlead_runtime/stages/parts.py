"""The part of a model that one stage calls: a graph of its own, and only the variables that it reads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import tensorflow_import
from fairlead_runtime.model.predictor import Array, Tensors
from fairlead_runtime.model.predictor_frozen import FrozenPredictor
from fairlead_runtime.model.predictor_function import first_line
from fairlead_runtime.stages.cutting import Flow, Stage
from fairlead_runtime.stages.graph import FlatGraph, Variable, full_name, name_of, order

_FEED = "fairlead_feed_{}"


class KeptVariable(BaseModel):
    """A variable of a part: the node that gives its handle, and the name of its value in the model's checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    handle: str
    key: str
    dtype: int
    shape: tuple[int, ...]


class Part(BaseModel):
    """What one stage takes and gives, by the names of the tensors in the whole model.

    `fetches` are those of `gives` that it makes, as its graph names them; the others of `gives` it only passes on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    takes: tuple[str, ...]
    gives: tuple[str, ...]
    fetches: tuple[str, ...]
    variables: tuple[KeptVariable, ...]
    weight_bytes: int


ReadWeight = Callable[[KeptVariable], Array]


def make(flat: FlatGraph, flow: Flow, stage: Stage) -> tuple[Part, Any]:
    """The part, and its graph: what leads from what the stage takes to what it gives."""
    feeds = {tensor: _FEED.format(number) for number, tensor in enumerate(stage.takes)}
    definition = type(flat.definition)()
    definition.library.CopyFrom(flat.definition.library)
    definition.versions.CopyFrom(flat.definition.versions)
    dtypes = _dtypes(flat, stage.takes)
    for tensor, name in feeds.items():
        node = definition.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = dtypes[tensor]
        node.attr["shape"].shape.unknown_rank = True
    nodes = {node.name: _rewired(node, feeds) for node in flat.definition.node}
    fetches = tuple(tensor for tensor in dict.fromkeys(stage.gives) if tensor not in feeds)
    own = {step.name for step in flow.steps[stage.start : stage.end]}
    moving = {step.name for step in flow.steps}
    nodes.update({node.name: node for node in definition.node})
    reached = [nodes[name] for name in order(nodes, [name_of(tensor) for tensor in fetches])]
    if not {node.name for node in reached} & moving <= own:
        raise RuntimeError("a stage needs a step of another one")
    names = set(feeds.values())
    definition.node.extend(node for node in reached if node.name not in names)
    variables = [flat.variables[node.name] for node in reached if node.name in flat.variables]
    part = Part(
        takes=stage.takes,
        gives=stage.gives,
        fetches=fetches,
        variables=tuple(keep(variable) for variable in variables),
        weight_bytes=stage.weight_bytes,
    )
    return part, definition


def _rewired(node: Any, feeds: Mapping[str, str]) -> Any:
    if not any(full_name(source) in feeds for source in node.input):
        return node
    changed = type(node)()
    changed.CopyFrom(node)
    changed.input[:] = [feeds.get(full_name(source), source) for source in node.input]
    return changed


def _dtypes(flat: FlatGraph, tensors: Sequence[str]) -> Mapping[str, int]:
    graph = tensorflow_import.import_part("python.framework.ops").Graph()
    with graph.as_default():
        tensorflow_import.import_part("python.framework.importer").import_graph_def(flat.definition, name="")
    return {tensor: graph.get_tensor_by_name(tensor).dtype.as_datatype_enum for tensor in tensors}


def keep(variable: Variable) -> KeptVariable:
    """The variable as it is written into a record."""
    return KeptVariable(handle=variable.handle, key=variable.key, dtype=variable.dtype, shape=variable.shape)


class PartPredictor:
    """A part that can be called: what it takes and gives is in the part's order."""

    def __init__(self, part: Part, call: FrozenPredictor | None) -> None:
        self._call = call
        made = {tensor: number for number, tensor in enumerate(part.fetches)}
        taken = {tensor: number for number, tensor in enumerate(part.takes)}
        self._sources = [(True, made[each]) if each in made else (False, taken[each]) for each in part.gives]

    def __call__(self, inputs: Tensors) -> Tensors:
        """Raises what a Predictor raises."""
        made = self._call(inputs) if self._call is not None else ()
        return tuple(made[number] if is_made else inputs[number] for is_made, number in self._sources)


def open_part(part: Part, definition: Any, read_weight: ReadWeight, *, threads: int) -> PartPredictor:
    """Reads one weight after the other into the part's variables."""
    feeds = [f"{_FEED.format(number)}:0" for number in range(len(part.takes))]
    return PartPredictor(part, open_graph(definition, part.variables, feeds, part.fetches, read_weight, threads))


def open_graph(
    definition: Any,
    variables: Sequence[KeptVariable],
    feeds: Sequence[str],
    fetches: Sequence[str],
    read_weight: ReadWeight,
    threads: int,
) -> FrozenPredictor:
    """A graph with its variables as a function that runs in the calling thread.

    A variable shares the memory of an array that is aligned as TensorFlow needs it, such as a mapped file.
    """
    part = tensorflow_import.import_part
    config_pb2 = part("core.protobuf.config_pb2")
    resources, arrays = part("python.ops.gen_resource_variable_ops"), part("python.ops.array_ops")
    dtypes = part("python.framework.dtypes")
    graph, assigns = part("python.framework.ops").Graph(), []
    with graph.as_default():
        part("python.framework.importer").import_graph_def(definition, name="")
        for variable in variables:
            value = arrays.placeholder(dtypes.as_dtype(variable.dtype), variable.shape)
            handle = graph.get_tensor_by_name(f"{variable.handle}:0")
            assigns.append((variable, value, resources.assign_variable_op(handle, value)))
    config = config_pb2.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
    session = part("python.client.session").Session(graph=graph, config=config)
    for variable, value, assign in assigns:
        session.run(assign, {value: read_weight(variable)})
    options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
    # -1: run in the thread that calls, instead of handing over to a pool.
    options.run_options.inter_op_thread_pool = -1
    return FrozenPredictor(session, session._make_callable_from_options(options), feeds=feeds, fetches=fetches)


def read_checkpoint(root: Path) -> ReadWeight:
    """Reads a weight from the SavedModel in this folder; raises LoadError."""
    errors = tensorflow_import.import_part("python.framework.errors_impl")
    open_reader = functools.cache(
        tensorflow_import.import_part("python.training.py_checkpoint_reader").NewCheckpointReader
    )

    def read(variable: KeptVariable) -> Array:
        try:
            value: Array = open_reader(str(root / "variables" / "variables")).get_tensor(variable.key)
        except errors.OpError as error:
            why = first_line(error).replace(str(root), "the model's folder")
            raise LoadError(LoadReason.MODEL_CORRUPT, f"TensorFlow can't read the weights: {why}") from None
        return value

    return read
