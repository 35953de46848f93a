"""What the corpus consists of: models, how each is deployed, and what a client gets."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fairlead_runtime.errors import LoadReason

Arrays = dict[str, np.ndarray[Any, Any]]


class Form(StrEnum):
    """As what a model is deployed."""

    KERAS = "`.keras` file"
    COMPILED = "`.keras` file of a compiled model"
    EXPORTED = "SavedModel (`model.export`)"
    SAVED = "SavedModel (`tf.saved_model.save`)"
    TF1 = "SavedModel of TensorFlow 1"
    VERSIONS = "folder of version folders"
    ARCHIVE = "`.tar.gz` archive of a SavedModel"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True)
class Built:
    """A model on the disk, a request by the inputs' names, and the answer of the model itself by the outputs' names.

    Where there is one input or output, its name is not compared: an export chooses it.
    """

    path: Path
    inputs: Arrays = field(default_factory=dict)
    answer: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One model of the corpus.

    Attributes:
        name: What a person would call the model.
        form: As what it is deployed.
        build: Makes it in a folder that exists and is empty.
        example: `spec.model.example`.
        source: Fields of `spec.model` beside the URI.
        shares: Whether requests share a call; None where the entry is not about that.
        is_nightly: Whether only a nightly run tests it: it is expensive, or other entries stand for its family.
        refusal: Why it is refused, None for a model that is served. The sentences are in `sentences.json`.
    """

    name: str
    form: Form
    build: Callable[[Path], Built]
    source: Mapping[str, str] = field(default_factory=dict)
    shares: bool | None = None
    example: str | None = None
    is_nightly: bool = False
    refusal: LoadReason | None = None


def array(values: Any, dtype: str = "float32") -> np.ndarray[Any, Any]:
    """A NumPy array; strings are bytes in an array of objects."""
    if dtype == "string":
        found = np.asarray(values, dtype=object)
        encoded = [each if isinstance(each, bytes) else each.encode() for each in found.reshape(-1)]
        flat = np.empty(len(encoded), dtype=object)
        flat[:] = encoded
        return flat.reshape(found.shape)
    return np.asarray(values, dtype=dtype)


def numbers(*shape: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Random float32 of a normal distribution."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def indices(*shape: int, below: int = 10) -> np.ndarray[Any, Any]:
    """Random int32 from 0 to below `below`."""
    return np.random.default_rng(2).integers(0, below, shape).astype(np.int32)


def to_arrays(results: Any) -> Arrays:
    """Outputs by name as NumPy has them: keys of a dict, else `output_0`, `output_1` …; bfloat16 as float32."""
    named = results if isinstance(results, dict) else {f"output_{i}": each for i, each in enumerate(flat(results))}
    return {name: to_array(each) for name, each in named.items()}


def flat(results: Any) -> list[Any]:
    """The tensors of a structure, in its order."""
    return list(tf.nest.flatten(results))


def to_array(tensor: Any) -> np.ndarray[Any, Any]:
    """A tensor as NumPy has it."""
    found = tensor if not hasattr(tensor, "dtype") or tensor.dtype != tf.bfloat16 else tf.cast(tensor, tf.float32)
    return np.asarray(found)


def save_keras(model: Any, given: Any, folder: Path, form: Form) -> Built:
    """Saves a Keras model in that form, with the answer that it gives by itself."""
    answer = to_arrays(model(given, training=False))
    path = folder / "model"
    match form:
        case Form.KERAS | Form.COMPILED:
            path = folder / "model.keras"
            if form is Form.COMPILED:
                model.compile(optimizer="adam", loss="mse", metrics=["mae"])
            model.save(path)
        case Form.EXPORTED:
            model.export(str(path), verbose=False)
        case _:
            tf.saved_model.save(model, str(path))
    return Built(path=path, inputs=name_inputs(model, given), answer=answer)


def name_inputs(model: Any, given: Any) -> Arrays:
    """The request by the names of the model's inputs."""
    if isinstance(given, dict):
        return dict(given)
    if not isinstance(given, list | tuple):
        return {"x": np.asarray(given)}
    return {tensor.name: each for tensor, each in zip(model.inputs, given, strict=True)}


def keras_entry(
    name: str, make: Callable[[], tuple[Any, Any]], form: Form = Form.KERAS, *, shares: bool | None = None
) -> Entry:
    """A Keras model and a request for it; both are made when the entry is built."""

    def build(folder: Path) -> Built:
        keras.backend.clear_session()
        keras.utils.set_random_seed(3)
        model, given = make()
        return save_keras(model, given, folder, form)

    return Entry(name=name, form=form, build=build, shares=shares)


def saved_entry(
    name: str, make: Callable[[], tuple[Any, Any, Arrays]], *, shares: bool | None = None, form: Form = Form.SAVED
) -> Entry:
    """A `tf.Module`, its function to serve, and a request by name."""

    def build(folder: Path) -> Built:
        module, function, inputs = make()
        # bfloat16 is float32 to clients.
        given = {spec.name: tf.cast(inputs[spec.name], spec.dtype) for spec in function.input_signature}
        answer = to_arrays(function(**given))
        return Built(path=save_form(module, function, folder, form), inputs=inputs, answer=answer)

    return Entry(name=name, form=form, build=build, shares=shares)


def save_form(module: Any, function: Any, folder: Path, form: Form) -> Path:
    """Saves a module as a SavedModel, below a version folder or in an archive where the form is one of those."""
    path = folder / "model"
    if form is Form.VERSIONS:
        for version in ("1", "2"):
            tf.saved_model.save(tf.Module(), str(path / version), signatures=other_function())
        tf.saved_model.save(module, str(path / "10"), signatures=function)
        return path
    tf.saved_model.save(module, str(path), signatures=function)
    if form is not Form.ARCHIVE:
        return path
    archive = folder / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(path, "model")
    return archive


def other_function() -> Any:
    """What an older version of a model answers."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 0.0}

    return call


def refused_entry(name: str, form: Form, make: Callable[[Path], Path], reason: LoadReason, **source: str) -> Entry:
    """A model that is refused before it is served; `make` returns where it is."""
    return Entry(
        name=name,
        form=form,
        build=lambda folder: Built(path=make(folder)),
        source=source,
        refusal=reason,
    )
