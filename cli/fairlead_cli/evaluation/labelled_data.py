"""Labelled data in a file `.npz`: the model's inputs by name, `labels`, names of the classes. docs/evaluation.md."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.errors import RequestError
from fairlead_runtime.inference import codec
from fairlead_runtime.model.evaluation_record import SAMPLES_MAX
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

Array = np.ndarray[Any, Any]
BYTES_MAX = 8 * 1024 * 1024 * 1024
ARRAYS_MAX = 64
NAMES_MAX = 100_000
NAME_CHARS_MAX = 200
INPUTS, LABELS, CLASSES = "inputs", "labels", "classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledData:
    """Inputs in the signature's order and one label for each row; `names` are those of the classes from 0."""

    inputs: tuple[Array, ...]
    labels: Array
    names: tuple[str, ...]


def read(path: pathlib.Path, signature: Signature) -> LabelledData:
    """Raises EvaluationError for a file that is not of the documented form, or doesn't fit the model."""
    if not all(spec.has_free_batch for spec in signature.inputs):
        fixed = next(spec.name for spec in signature.inputs if not spec.has_free_batch)
        raise EvaluationError(f"the model's input {fixed!r} has no free first dimension, which evaluation needs")
    needed = {spec.name for spec in signature.inputs} | {INPUTS, LABELS, CLASSES}
    arrays = _arrays(path, needed)
    labels = _labels(path, arrays)
    inputs = tuple(_input(path, arrays, spec, is_only=len(signature.inputs) == 1) for spec in signature.inputs)
    for spec, array in zip(signature.inputs, inputs, strict=True):
        if len(array) != len(labels):
            raise EvaluationError(f"{path}: {spec.name!r} has {len(array)} rows, but 'labels' has {len(labels)}")
    return LabelledData(inputs=inputs, labels=labels, names=_names(path, arrays))


def _arrays(path: pathlib.Path, needed: set[str]) -> Mapping[str, Array]:
    """Those that are needed; the sizes that the file states are bounded before anything is read."""
    try:
        with zipfile.ZipFile(path) as packed:
            entries = packed.infolist()
    except FileNotFoundError:
        raise EvaluationError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise EvaluationError(f"{path} is a folder; DATA must be a .npz file, as numpy.savez writes it") from None
    except (zipfile.BadZipFile, OSError) as error:
        raise EvaluationError(f"{path} is no .npz file, as numpy.savez writes it: {error}") from None
    if len(entries) > ARRAYS_MAX:
        raise EvaluationError(f"{path} holds {len(entries)} arrays; at most {ARRAYS_MAX} are allowed")
    wanted = [entry for entry in entries if entry.filename.removesuffix(".npy") in needed]
    size = sum(entry.file_size for entry in wanted)
    if size > BYTES_MAX:
        raise EvaluationError(f"{path} holds {size} bytes of arrays; at most {BYTES_MAX} are allowed")
    with np.load(path, allow_pickle=False) as loaded:
        return {name: _array(path, loaded, name) for name in loaded.files if name in needed}


def _array(path: pathlib.Path, loaded: Any, name: str) -> Array:
    try:
        return np.asarray(loaded[name])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        text = f"{path}: the array {name!r} can't be read ({error})"
        raise EvaluationError(f"{text}; save numbers, and texts as numpy.array(texts, dtype=str)") from None


def _labels(path: pathlib.Path, arrays: Mapping[str, Array]) -> Array:
    form = "one whole number from 0 for each row: the index of the true class"
    if LABELS not in arrays:
        raise EvaluationError(f"{path} has no array 'labels'; it must hold {form}")
    labels = arrays[LABELS]
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        found = f"shape {list(labels.shape)} and type {labels.dtype}"
        raise EvaluationError(f"{path}: 'labels' has the {found}; it must hold {form}")
    if not 1 <= len(labels) <= SAMPLES_MAX:
        raise EvaluationError(f"{path}: 'labels' has {len(labels)} rows; it must have from 1 to {SAMPLES_MAX}")
    if labels.dtype.kind == "i" and labels.min() < 0:
        raise EvaluationError(f"{path}: 'labels' holds {labels.min()}; it must hold {form}")
    if int(labels.max()) >= 2**32 - 1:
        raise EvaluationError(f"{path}: 'labels' holds {labels.max()}, which is no index of a class")
    return labels.astype(np.int64)


def _input(path: pathlib.Path, arrays: Mapping[str, Array], spec: TensorSpec, *, is_only: bool) -> Array:
    name = INPUTS if is_only and spec.name not in arrays else spec.name
    if name not in arrays:
        also = " (or 'inputs', as the model has one input)" if is_only else ""
        raise EvaluationError(f"{path} has no array {spec.name!r}{also}, which is an input of the model")
    array = arrays[name]
    wanted = f"{spec.dtype.value} of the shape {codec.shape_text(spec.shape or ())}"
    try:
        return codec.check_array(spec, _convert(spec, array))
    except (RequestError, ValueError, UnicodeError) as error:
        found = f"{array.dtype} of the shape {list(array.shape)}"
        why = error.sentence if isinstance(error, RequestError) else str(error)
        raise EvaluationError(f"{path}: {name!r} is {found}; the model takes {wanted} ({why})") from None


def _convert(spec: TensorSpec, array: Array) -> Array:
    """Texts as bytes; numbers in the model's type, if each keeps its value but for the rounding of floats."""
    if spec.dtype is DType.STRING:
        if array.dtype.kind not in "US":
            raise ValueError("texts are saved as numpy.array(texts, dtype=str)")
        return (np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array).astype(object)
    if array.dtype.kind in "US" or not np.can_cast(array.dtype, spec.dtype.numpy, "same_kind"):
        raise ValueError("convert it with astype")
    converted = array.astype(spec.dtype.numpy)
    if array.dtype.kind in "iu" and spec.dtype.numpy.kind in "iu" and not np.array_equal(converted, array):
        raise ValueError("it holds numbers outside the model's type")
    return converted


def _names(path: pathlib.Path, arrays: Mapping[str, Array]) -> tuple[str, ...]:
    if CLASSES not in arrays:
        return ()
    names = arrays[CLASSES]
    if names.ndim != 1 or names.dtype.kind != "U" or len(names) > NAMES_MAX:
        text = f"{path}: 'classes' must be a list of at most {NAMES_MAX} names"
        raise EvaluationError(f"{text}, saved as numpy.array(names, dtype=str)")
    return tuple("".join(c for c in str(name)[:NAME_CHARS_MAX] if c.isprintable()) for name in names)
