"""Which variables and operations the outputs of a function depend on.

An output that only comes after an assignment (`^node`) does not depend on it. What is passed into a loop or a branch
counts as used there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


def variables_behind_outputs(function: Any) -> list[Any]:
    """Those of a concrete function whose value, or whose handle, leads to one of its outputs."""
    definition = function.graph.as_graph_def()
    flow = _Flow({each.signature.name: each for each in definition.library.function})
    nodes = {node.name: node for node in definition.node}
    behind = flow.behind(nodes, [tensor.name for tensor in function.outputs])
    by_handle = {id(variable.handle): variable for variable in function.graph.variables}
    captured = [(by_handle.get(id(outside)), inside) for outside, inside in function.graph.captures]
    return [variable for variable, inside in captured if variable is not None and inside.op.name in behind]


def nodes_behind_outputs(function: Any) -> Iterator[Any]:
    """Nodes of a concrete function that lead to one of its outputs, with those of the functions that they call."""
    definition = function.graph.as_graph_def()
    flow = _Flow({each.signature.name: each for each in definition.library.function})
    return flow.nodes_behind(definition.node, [tensor.name for tensor in function.outputs])


class _Flow:
    """Walks against the data, through calls of functions."""

    def __init__(self, library: Mapping[str, Any]) -> None:
        self._library = library
        self._used: dict[str, frozenset[str]] = {}

    def behind(self, nodes: Mapping[str, Any], tensors: Iterable[str]) -> frozenset[str]:
        """Names of nodes and of arguments."""
        todo, seen = list(tensors), set[str]()
        while todo:
            name = todo.pop().partition(":")[0]
            if name not in seen:
                seen.add(name)
                if name in nodes:
                    todo.extend(self._sources(nodes[name]))
        return frozenset(seen)

    def nodes_behind(self, nodes: Iterable[Any], tensors: Iterable[str]) -> Iterator[Any]:
        """All results of a called function count as used."""
        todo, entered = [(nodes, tensors)], set[str]()
        while todo:
            given, wanted = todo.pop()
            by_name = {node.name: node for node in given}
            for node in [by_name[name] for name in self.behind(by_name, wanted) if name in by_name]:
                yield node
                for name in (_called(node) & self._library.keys()) - entered:
                    entered.add(name)
                    todo.append((self._library[name].node_def, self._library[name].ret.values()))

    def _sources(self, node: Any) -> Sequence[str]:
        given = [name for name in node.input if not name.startswith("^")]
        called: str = node.attr["f"].func.name if node.op in _CALLS and "f" in node.attr else ""
        if called not in self._library:
            return given
        used = self._used_arguments(called)
        arguments = self._library[called].signature.input_arg
        return [tensor for tensor, argument in zip(given, arguments, strict=True) if argument.name in used]

    def _used_arguments(self, name: str) -> frozenset[str]:
        """The arguments that lead to a result of a function of the library."""
        if name not in self._used:
            definition = self._library[name]
            self._used[name] = frozenset(argument.name for argument in definition.signature.input_arg)
            nodes = {node.name: node for node in definition.node_def}
            self._used[name] = self.behind(nodes, definition.ret.values())
        return self._used[name]


def _called(node: Any) -> set[str]:
    """Names of functions that a node may call."""
    return {node.op, *(value.func.name for value in node.attr.values() if value.HasField("func"))}
