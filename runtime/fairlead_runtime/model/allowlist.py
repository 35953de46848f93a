"""Which SavedModels are run: every operation they could reach is on a list. TensorFlow itself calls models programs.

What no prediction, no loading and no restoring reaches is never run, so it may be anything: a recurrent layer that
Keras 2 saved carries its variant for a GPU along. TensorFlow may exchange functions that say by `api_implements` that
they do the same, so all of those count as reached. Tables may be filled from the model's own files (`asset_tables.py`).
The saver's own operations write and read files; they are in every SavedModel, and are allowed only where nothing but
saving and restoring reaches them. Source: https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import asset_tables

SAVE_OPS = frozenset({"SaveV2", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec", "RestoreV2"})
RESTORE_OPS = frozenset({"RestoreV2", "ShardedFilename"})
NAMED_MAX = 5
OPERATIONS_MAX = 64
OPERATION = re.compile(r"[A-Z][A-Za-z0-9]*(>[A-Z][A-Za-z0-9]*)?")
"""Source: tensorflow/core/framework/op_def_builder.cc; `Package>Name` belongs to a package."""
_RUN_ON_LOADING = ("saved_model_main_op", "legacy_init_op", "table_initializer")


def allowed_ops() -> frozenset[str]:
    """The names of the TensorFlow operations that a model may contain, from `allowed_ops.txt`."""
    text = resources.files(__package__).joinpath("allowed_ops.txt").read_text()
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def parse_operations(text: str) -> frozenset[str]:
    """The operations that a platform allows beside the list, with commas between; raises LoadError."""
    names = frozenset(text.split(",")) if text else frozenset[str]()
    wrong = sorted(name for name in names if OPERATION.fullmatch(name) is None)
    if wrong or len(names) > OPERATIONS_MAX:
        problem = f"{wrong[0][:100]!r} is none" if wrong else f"there are {len(names)}"
        raise LoadError(
            LoadReason.NODE_MISCONFIGURED,
            "FAIRLEAD_ALLOWED_OPERATIONS of the Ray node must be names of TensorFlow operations such as PrintV2, "
            f"at most {OPERATIONS_MAX} with commas between; {problem}",
        )
    return names


def operations_of_environment() -> frozenset[str]:
    """Those of FAIRLEAD_ALLOWED_OPERATIONS, for the commands that load models; raises LoadError."""
    return parse_operations(os.environ.get("FAIRLEAD_ALLOWED_OPERATIONS", ""))


def check(meta_graph: Any, more: frozenset[str] = frozenset()) -> None:
    """Raises LoadError (UnsafeModel) naming the operations of a `MetaGraphDef` that are not allowed.

    `more` are allowed beside those of the list.
    """
    graph = _Graph(meta_graph)
    allowed = allowed_ops() | more
    if meta_graph.HasField("object_graph_def"):
        serving = graph.ops_from(graph.serving_nodes(), graph.object_functions) - allowed
    else:
        # TensorFlow 1: collections name what is run on loading, so nothing counts as never run.
        serving = graph.all_ops() - allowed - SAVE_OPS
        serving |= graph.ops_from(graph.serving_nodes(), ()) - allowed
    restoring = graph.ops_from([_node(meta_graph.saver_def.restore_op_name)], ()) - allowed - RESTORE_OPS
    refused = sorted(serving | restoring)
    if asset_tables.OP in refused:
        problem = asset_tables.find_problem(meta_graph)
        if problem is not None:
            raise LoadError(LoadReason.UNSAFE_MODEL, problem)
        refused.remove(asset_tables.OP)
    if refused:
        named = ", ".join(refused[:NAMED_MAX]) + (
            f" and {len(refused) - NAMED_MAX} more" if len(refused) > NAMED_MAX else ""
        )
        text = (
            f"the model contains operations that are not allowed: {named}. A model may only compute: export a "
            "signature that reads and writes no files, prints nothing and runs no Python code. The platform can allow "
            "operations in spec.sources.allowedOperations of the ServingClass"
        )
        raise LoadError(LoadReason.UNSAFE_MODEL, text)


class _Graph:
    """The graph and its function library as one thing to walk."""

    def __init__(self, meta_graph: Any) -> None:
        self._meta = meta_graph
        self._nodes = {node.name: node for node in meta_graph.graph_def.node}
        self._functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
        by_interface: dict[bytes, set[str]] = {}
        for name, function in self._functions.items():
            by_interface.setdefault(_interface(function), set()).add(name)
        self._implementations = {key: frozenset(names) for key, names in by_interface.items() if key}
        self.object_functions = tuple(meta_graph.object_graph_def.concrete_functions)

    def all_ops(self) -> set[str]:
        """Every operation, whatever reaches it."""
        nodes = [*self._nodes.values(), *(node for f in self._functions.values() for node in f.node_def)]
        return {node.op for node in nodes if node.op not in self._functions}

    def serving_nodes(self) -> list[str]:
        """What a prediction or the loading runs: outputs of the signatures and the initialisers."""
        infos = (info for signature in self._meta.signature_def.values() for info in signature.outputs.values())
        main_ops = [name for key in _RUN_ON_LOADING for name in self._collection(key)]
        return [_node(name) for name in (*(info.name for info in infos), *main_ops)]

    def ops_from(self, roots: Iterable[str], functions: Iterable[str]) -> set[str]:
        """Operations that can run when the nodes `roots` or the functions are evaluated."""
        ops: set[str] = set()
        called = set(functions)
        for node in self._walk_back(roots):
            ops.add(node.op)
            called |= self._called(node)
        todo, seen = list(called & self._functions.keys()), set[str]()
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            for node in self._functions[name].node_def:
                ops.add(node.op)
                todo.extend(self._called(node))
        return ops - self._functions.keys()

    def _walk_back(self, roots: Iterable[str]) -> Iterator[Any]:
        todo, seen = list(roots), set[str]()
        while todo:
            name = todo.pop()
            if name in seen or name not in self._nodes:
                continue
            seen.add(name)
            yield self._nodes[name]
            todo.extend(_node(source) for source in self._nodes[name].input)

    def _called(self, node: Any) -> set[str]:
        """Functions that a node may call: by its operation's name, or by any attribute."""
        names = {node.op}
        for value in node.attr.values():
            names.add(value.func.name)
            names.update(function.name for function in value.list.func)
        called = names & self._functions.keys()
        return called | {other for name in called for other in self._alternatives(name)}

    def _alternatives(self, name: str) -> frozenset[str]:
        """Functions that TensorFlow may run in place of this one."""
        return self._implementations.get(_interface(self._functions[name]), frozenset())

    def _collection(self, key: str) -> list[str]:
        return list(self._meta.collection_def[key].node_list.value) if key in self._meta.collection_def else []


def _interface(function: Any) -> bytes:
    """What a function says that it implements, as others may; empty where it says nothing."""
    interface: bytes = function.attr["api_implements"].s if "api_implements" in function.attr else b""
    return interface


def _node(tensor: str) -> str:
    """The node's name in `^name`, `name:0` or `name`."""
    return tensor.removeprefix("^").partition(":")[0]
