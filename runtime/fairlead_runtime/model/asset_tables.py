"""Whether a SavedModel fills its tables from its own files alone.

`InitializeTableFromTextFileV2` reads the file that its input names. It is harmless where that name is one of the
model's assets, which belong to its digest, and never anything that the graph computes or a client sends. TensorFlow 2
passes an asset to the function that fills the table as a captured value of that function, so only that form is allowed:
in the graph itself an asset's node can be fed like any other.
Source: tensorflow/core/protobuf/saved_object_graph.proto (SavedAsset, SavedConcreteFunction.bound_inputs)
"""

from __future__ import annotations

from typing import Any

OP = "InitializeTableFromTextFileV2"
FILE_INPUT = 1


def find_problem(meta_graph: Any) -> str | None:
    """Why a table of this `MetaGraphDef` could be filled from a file that isn't its own; None where none could."""
    for asset in meta_graph.asset_file_def:
        parts = asset.filename.split("/")
        if not asset.filename or asset.filename.startswith("/") or "\\" in asset.filename or ".." in parts:
            return f"the asset {asset.filename[:100]!r} lies outside of the model's folder"
    functions = meta_graph.graph_def.library.function
    if any(node.op == OP for node in meta_graph.graph_def.node) or not all(
        _takes_own_file(meta_graph, function, node) for function in functions for node in function.node_def
    ):
        return "a table is filled from a file that is no asset of the model"
    return None


def _takes_own_file(meta_graph: Any, function: Any, node: Any) -> bool:
    """Whether a node of a function fills no table, or fills it from an asset that the function has captured."""
    if node.op != OP:
        return True
    name = function.signature.name
    arguments = [argument.name for argument in function.signature.input_arg]
    objects = meta_graph.object_graph_def
    if (
        len(node.input) <= FILE_INPUT
        or node.input[FILE_INPUT] not in arguments
        or name not in objects.concrete_functions
    ):
        return False
    bound = objects.concrete_functions[name].bound_inputs
    captured = arguments.index(node.input[FILE_INPUT]) - (len(arguments) - len(bound))
    if not 0 <= captured < len(bound) or not 0 <= bound[captured] < len(objects.nodes):
        return False
    # A function that calls this one, or that TensorFlow may run this one in place of, passes what it likes.
    is_alone = "api_implements" not in function.attr and not _is_called(meta_graph, name)
    return is_alone and bool(objects.nodes[bound[captured]].HasField("asset"))


def _is_called(meta_graph: Any, name: str) -> bool:
    """Whether a function names this one. The graph's own nodes are not run where there is an object graph."""
    for function in meta_graph.graph_def.library.function:
        for node in function.node_def:
            named = {value.func.name for value in node.attr.values()}
            named.update(each.name for value in node.attr.values() for each in value.list.func)
            if node.op == name or name in named:
                return True
    return False
