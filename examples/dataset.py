"""What every family's data looks like once it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy
import numpy.typing

Array = numpy.typing.NDArray[numpy.generic]


class DataUnavailable(Exception):
    """The data can't be had here; the message says what would help."""


def as_it_is(inputs: Array, labels: Array) -> tuple[Array, Array]:
    """Nothing is varied."""
    return inputs, labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Inputs and labels, split. ``extra_held_out`` are parts of it or further sets, reported by name.

    ``vary`` makes what the network sees out of the samples it learns from: moved images, hidden words. It is never
    applied to samples by which a network is judged.
    """

    name: str
    classes: tuple[str, ...]
    train_inputs: Array
    train_labels: Array
    held_out_inputs: Array
    held_out_labels: Array
    extra_held_out: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    held_out_texts: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    vary: Callable[[Array, Array], tuple[Array, Array]] = as_it_is
