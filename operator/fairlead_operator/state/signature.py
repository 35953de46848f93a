"""What a model takes and gives, as its metadata describes it, and where another one breaks that contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FREE = -1
"""A dimension of any size; the metadata has one free dimension for a tensor of unknown rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Tensors by name, in the words of the Open Inference Protocol; their order is no part of the contract."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


def differences(before: Signature, after: Signature) -> tuple[str, ...]:
    """What a caller of ``before`` would meet with ``after``, one sentence part each; none where it is compatible.

    Every input is required, so a new one breaks callers as a missing one does; a new output breaks nobody.
    """
    lost = [f"input {name} is gone" for name in before.inputs if name not in after.inputs]
    new = [f"input {name} is new and required" for name in after.inputs if name not in before.inputs]
    gone = [f"output {name} is gone" for name in before.outputs if name not in after.outputs]
    changed = [*_changed("input", before.inputs, after.inputs), *_changed("output", before.outputs, after.outputs)]
    return (*lost, *new, *gone, *changed)


def _changed(kind: str, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> list[str]:
    return [
        f"{kind} {name}: {what}"
        for name, was in before.items()
        if name in after and (what := _tensor(was, after[name])) is not None
    ]


def _tensor(was: Tensor, now: Tensor) -> str | None:
    """A free dimension agrees with any of the same place; the number of dimensions never changes."""
    if was.datatype != now.datatype:
        return f"{was.datatype} became {now.datatype}"
    fits = all(FREE in (old, new) or old == new for old, new in zip(was.shape, now.shape, strict=False))
    if len(was.shape) == len(now.shape) and fits:
        return None
    return f"shape {_shape(was)} became {_shape(now)}"


def _shape(tensor: Tensor) -> str:
    return f"[{', '.join(str(size) for size in tensor.shape)}]"
