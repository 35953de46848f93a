"""What every family's data looks like once it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy
import numpy.typing

Loaded = TypeVar("Loaded")
Array = numpy.typing.NDArray[numpy.generic]


class DataUnavailable(Exception):
    """The data can't be had here; the message says what would help."""


def download(load: Callable[[], Loaded], *, name: str, instead: str) -> Loaded:
    """What one of Keras' loaders brings.

    Raises:
        DataUnavailable: Keras can't download it, or what came isn't what was published; with what to use ``instead``.
    """
    try:
        return load()
    except Exception as error:
        # For a host that can't be reached keras.utils.get_file raises Exception itself, for a wrong hash ValueError.
        if type(error) is not Exception and not isinstance(error, OSError | ValueError):
            raise
        raise DataUnavailable(f"{name} can't be downloaded here ({error}); use {instead}") from error


def keep_order(inputs: Array, labels: Array) -> tuple[Array, Array]:
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
    vary: Callable[[Array, Array], tuple[Array, Array]] = keep_order
