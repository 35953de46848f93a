"""How long a call of the model will take, learnt from earlier calls with inputs of like size.

The cost of a call grows with its inputs in a way that only the model knows: with the square of a sequence's length,
with the pixels of an image. So costs are kept by class: two inputs are of one class when each of their dimensions has
the same number of binary digits, that is, when none differs by a factor of two. Of a class that was never called
nothing is known, and such a call must not run where it could be in the way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fairlead_runtime.model.predictor import Array, Tensors

CLASSES_MAX = 512
"""The class that was met first is forgotten for another."""

FALL = 1 / 32
"""How much of a lower cost is believed at once."""

RISE_MAX = 4.0
"""How much higher a known cost gets by one call: one that was interrupted by the machine says little of the model."""


@dataclass(slots=True)
class Size:
    """The class of a call's inputs, and their elements (bytes of strings count as elements).

    Not frozen: making one is on the hot path.
    """

    key: tuple[tuple[int, ...], ...]
    elements: int


class Costs(Protocol):
    """What is known of a model's speed; used from several threads."""

    def predict_s(self, size: Size) -> float | None:
        """The duration to expect in seconds; None where nothing is known."""
        ...

    def observe(self, size: Size, spent_s: float) -> None:
        """A call of this size took so long."""
        ...


def size_of(jobs: Sequence[Tensors]) -> Size:
    """The size of one call for all of these inputs, joined along their first dimension."""
    if len(jobs) == 1 and len(jobs[0]) == 1 and (only := jobs[0][0]).dtype.kind != "O":
        # As below; most models have one input, and this is on every request's way.
        return Size((tuple(map(int.bit_length, only.shape)),), only.size)
    key: list[tuple[int, ...]] = []
    elements = 0
    for column in zip(*jobs, strict=True):
        shape = column[0].shape
        if len(column) > 1:
            shape = (sum(array.shape[0] for array in column), *shape[1:])
        content = sum(map(_content, column))
        elements += content
        digits = tuple(map(int.bit_length, shape))
        key.append((*digits, content.bit_length()) if column[0].dtype.kind == "O" else digits)
    return Size(tuple(key), elements)


def _content(array: Array) -> int:
    return array.size if array.dtype.kind != "O" else array.size + sum(map(len, array.reshape(-1).tolist()))


class LearnedCosts:
    """Per class a moving average of seconds per element."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._per_element: dict[tuple[tuple[int, ...], ...], float] = {}

    def predict_s(self, size: Size) -> float | None:
        known = self._per_element.get(size.key)
        return None if known is None else known * size.elements

    def observe(self, size: Size, spent_s: float) -> None:
        measured = spent_s / max(1, size.elements)
        with self._lock:
            known = self._per_element.get(size.key)
            if known is None and len(self._per_element) >= CLASSES_MAX:
                del self._per_element[next(iter(self._per_element))]
            if known is None:
                learned = measured
            elif measured > known:
                learned = min(measured, known * RISE_MAX)
            else:
                learned = known + (measured - known) * FALL
            self._per_element[size.key] = learned
