"""A SavedModel's signature as one flat graph, read without its weights.

The function that a signature calls is put in its place, and so on, until only loops are left as functions. Whatever
only has to happen before something else (control inputs) is left out, so only plain functions of the inputs may be cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_runtime.model import tensorflow_import
from fairlead_runtime.model.onnx.purity import CannotConvertError, refuse_by_signature
from fairlead_runtime.model.predictor_function import first_line
from fairlead_runtime.model.signature import Signature, dtype_number
from fairlead_runtime.stages.cutting import CannotCutError, Flow, Step

_ASSIGNS = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})
_WITHOUT_EFFECTS = frozenset(
    {
        *("Placeholder", "ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VarHandleOp", "NoOp"),
        *("StatefulPartitionedCall", "While", "If", "Case"),
    }
)
_PASSES_ON = frozenset({"Identity", "IdentityN"})
_LOWERED = "_lower_using_switch_merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable of the graph: the node that gives its handle, and the name of its value in the checkpoint."""

    handle: str
    key: str
    dtype: int
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatGraph:
    """`definition` is the flat graph, `original` the one with calls.

    `feeds` and `fetches` are tensors of both, in the signature's order.
    """

    definition: Any
    original: Any
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    variables: Mapping[str, Variable]


def flatten(meta_graph: Any, signature: Signature) -> FlatGraph:
    """Raises CannotCutError for a model that is not a plain function of its inputs, or that holds no variables."""
    try:
        refuse_by_signature(signature)
    except CannotConvertError as error:
        raise CannotCutError(f"{error}, so it can't be cut: leave spec.optimization.parallelism out") from None
    if not meta_graph.HasField("object_graph_def"):
        text = "it was saved by TensorFlow 1 or has several graphs, so it can't be cut: export it by TensorFlow 2"
        raise CannotCutError(text)
    named = meta_graph.signature_def[signature.name]
    for spec in (*signature.inputs, *signature.outputs):
        info = (named.inputs if spec in signature.inputs else named.outputs)[spec.name]
        if info.dtype != dtype_number(spec.dtype):
            raise CannotCutError(f"{spec.name!r} is of the type bfloat16, so it can't be cut: cast it to float32")
    feeds = tuple(named.inputs[spec.name].name for spec in signature.inputs)
    fetches = tuple(named.outputs[spec.name].name for spec in signature.outputs)
    original = _extract(meta_graph.graph_def, fetches)
    for node in original.node:
        if node.op == "VarHandleOp":
            # Variables of one name are different ones all the same.
            node.attr["shared_name"].s = node.name.encode()
    flat = _inline(original, fetches)
    _refuse_effects(flat)
    variables = _variables(flat, _checkpoint_keys(meta_graph))
    _refuse_assigned(flat, fetches, variables)
    for node in flat.node:
        kept = [source for source in node.input if not source.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
    return FlatGraph(
        definition=_extract(flat, fetches), original=original, feeds=feeds, fetches=fetches, variables=variables
    )


def read_flow(flat: FlatGraph) -> Flow:
    """The flat graph as steps; what doesn't depend on an input belongs to the steps that take it."""
    nodes = {node.name: node for node in flat.definition.node}
    inputs = {name_of(tensor) for tensor in flat.feeds}
    tensors = _tensors(flat.definition)
    moving, held = set(inputs), dict[str, frozenset[str]]()
    weight_bytes, steps = dict[str, int](), list[Step]()
    for name in order(nodes, [name_of(tensor) for tensor in flat.fetches]):
        node, sources = nodes[name], [name_of(source) for source in nodes[name].input]
        if name in inputs:
            continue
        weights = frozenset[str]().union(*(held[source] for source in sources if source in held))
        if moving.isdisjoint(sources):
            size = _held_bytes(node, flat.variables)
            if size:
                weight_bytes[name] = size
            held[name] = weights | {name} if size else weights
            continue
        moving.add(name)
        takes = tuple(dict.fromkeys(full_name(source) for source in node.input if name_of(source) in moving))
        steps.append(Step(name=name, takes=takes, makes=tuple(tensors[name]), weights=weights))
    return Flow(
        inputs=flat.feeds,
        outputs=flat.fetches,
        steps=tuple(steps),
        weight_bytes=weight_bytes,
        unsendable=frozenset(
            tensor for step in steps for tensor, is_plain in tensors[step.name].items() if not is_plain
        ),
    )


def name_of(tensor: str) -> str:
    """The node's name in `name:0` or `name`."""
    return tensor.partition(":")[0]


def full_name(tensor: str) -> str:
    """`name:0` for `name`."""
    return tensor if ":" in tensor else f"{tensor}:0"


def _extract(definition: Any, tensors: Sequence[str]) -> Any:
    """What leads to these tensors, with the functions that it calls."""
    nodes = {node.name: node for node in definition.node}
    kept, todo = set[str](), [name_of(tensor) for tensor in tensors]
    while todo:
        name = todo.pop()
        if name not in kept:
            kept.add(name)
            todo.extend(name_of(source.removeprefix("^")) for source in nodes[name].input)
    found = type(definition)()
    found.node.extend(node for node in definition.node if node.name in kept)
    found.library.CopyFrom(definition.library)
    found.versions.CopyFrom(definition.versions)
    return found


def _inline(definition: Any, tensors: Sequence[str]) -> Any:
    """TensorFlow's own optimizer puts the functions in place of their calls, and does nothing else."""
    config = tensorflow_import.import_part("core.protobuf.config_pb2").ConfigProto()
    rewriter = tensorflow_import.import_part("core.protobuf.rewriter_config_pb2").RewriterConfig
    meta_graph = tensorflow_import.import_part("core.protobuf.meta_graph_pb2").MetaGraphDef()
    meta_graph.graph_def.CopyFrom(definition)
    # Loops stay functions: a thread that runs a graph alone can't run the operations that they would become.
    for node in _all_nodes(meta_graph.graph_def):
        if _LOWERED in node.attr:
            del node.attr[_LOWERED]
    meta_graph.collection_def["train_op"].node_list.value.extend(tensors)
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.meta_optimizer_iterations = rewriter.ONE
    options.function_optimization = rewriter.ON
    options.optimizers.append("function")
    errors = tensorflow_import.import_part("python.framework.errors_impl")
    try:
        return tensorflow_import.import_part("python.grappler.tf_optimizer").OptimizeGraph(config, meta_graph)
    except (errors.OpError, ValueError) as error:
        text = f"TensorFlow can't put its functions in place of their calls ({first_line(error)}), so it can't be cut"
        raise CannotCutError(f"{text}: leave spec.optimization.parallelism out") from None


def _all_nodes(definition: Any) -> Iterator[Any]:
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _refuse_effects(flat: Any) -> None:
    graph = tensorflow_import.import_part("python.framework.ops").Graph()
    library = {function.signature.name for function in flat.library.function}
    for op in sorted({node.op for node in _all_nodes(flat)} - _WITHOUT_EFFECTS - _ASSIGNS - library):
        if graph.op_def_for_type(op).is_stateful:
            text = f"it keeps state, checks values or has effects between calls ({op}), so it can't be cut"
            raise CannotCutError(f"{text}: leave spec.optimization.parallelism out")


def _refuse_assigned(flat: Any, fetches: Sequence[str], variables: Mapping[str, Variable]) -> None:
    """What an LSTM with dropout assigns, the seed of its random numbers, leads to no output."""
    types = {node.attr["dtype"].type for node in _all_nodes(flat) if node.op in _ASSIGNS}
    nodes = {node.name: node for node in flat.node}
    for name in order(nodes, [name_of(tensor) for tensor in fetches]) if types else ():
        if name in variables and variables[name].dtype in types:
            text = f"its answers may depend on the variable {name[:100]!r}, which its calls change, so it can't be cut"
            raise CannotCutError(f"{text}: leave spec.optimization.parallelism out")


def order(nodes: Mapping[str, Any], wanted: Sequence[str]) -> Sequence[str]:
    """The names of the nodes that lead to the wanted ones, each after those whose results it takes."""
    done, todo = dict[str, None](), [(name, False) for name in reversed(wanted)]
    entered = set[str]()
    while todo:
        name, is_left = todo.pop()
        if is_left:
            done[name] = None
        elif name not in entered:
            entered.add(name)
            todo.append((name, True))
            sources = (source for source in nodes[name].input if not source.startswith("^"))
            todo.extend((name_of(source), False) for source in reversed(list(sources)))
    return list(done)


def _variables(flat: Any, keys: Mapping[str, str]) -> Mapping[str, Variable]:
    found = {}
    for node in flat.node:
        if node.op != "VarHandleOp":
            continue
        shape = node.attr["shape"].shape
        sizes = tuple(dim.size for dim in shape.dim)
        if node.name not in keys or shape.unknown_rank or any(size < 0 for size in sizes):
            why = "is not in the checkpoint" if node.name not in keys else "has no known shape"
            text = f"its variable {node.name[:100]!r} {why}, so it can't be cut: export it again by TensorFlow 2"
            raise CannotCutError(text)
        dtype = node.attr["dtype"].type
        size = math.prod(sizes) * _item_bytes(dtype)
        found[node.name] = Variable(handle=node.name, key=keys[node.name], dtype=dtype, shape=sizes, bytes=size)
    return found


def _checkpoint_keys(meta_graph: Any) -> Mapping[str, str]:
    """The name of each variable's value in the checkpoint, by its handle: as the model's own restoring has it."""
    restore = meta_graph.saver_def.restore_op_name
    if restore not in {node.name for node in meta_graph.graph_def.node}:
        return {}
    flat = _inline(_extract(meta_graph.graph_def, [restore]), [restore])
    nodes = {node.name: node for node in flat.node}
    found = {}
    for node in flat.node:
        if node.op == "AssignVariableOp":
            handle, value = (_origin(nodes, source) for source in node.input[:2])
            reader, _, number = value.partition(":")
            if reader in nodes and nodes[reader].op == "RestoreV2":
                names = nodes[_origin(nodes, nodes[reader].input[1]).partition(":")[0]]
                key = names.attr["value"].tensor.string_val[int(number)].decode()
                found[name_of(handle)] = key
    return found


def _origin(nodes: Mapping[str, Any], tensor: str) -> str:
    """Where a tensor that is only passed on comes from."""
    name, _, number = full_name(tensor).partition(":")
    while name in nodes and nodes[name].op in _PASSES_ON:
        source = nodes[name].input[int(number) if nodes[name].op == "IdentityN" else 0]
        name, _, number = full_name(source).partition(":")
    return f"{name}:{number}"


def _held_bytes(node: Any, variables: Mapping[str, Variable]) -> int:
    """What a node without inputs keeps in memory."""
    if node.name in variables:
        return variables[node.name].bytes
    return int(node.attr["value"].tensor.ByteSize()) if node.op == "Const" else 0


def _item_bytes(dtype: int) -> int:
    return int(tensorflow_import.import_part("python.framework.dtypes").as_dtype(dtype).size)


def _tensors(definition: Any) -> Mapping[str, Mapping[str, bool]]:
    """The tensors that each node makes, and whether each is plain numbers."""
    dtypes = tensorflow_import.import_part("python.framework.dtypes")
    graph = tensorflow_import.import_part("python.framework.ops").Graph()
    with graph.as_default():
        tensorflow_import.import_part("python.framework.importer").import_graph_def(definition, name="")
    return {
        operation.name: {output.name: _is_plain(dtypes, output.dtype.base_dtype) for output in operation.outputs}
        for operation in graph.get_operations()
    }


def _is_plain(dtypes: Any, dtype: Any) -> bool:
    return dtype not in (dtypes.resource, dtypes.variant, dtypes.string, dtypes.bfloat16) and not dtype.is_quantized
