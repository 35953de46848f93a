"""The training record: how a model was trained, how good it is on data that it has never seen, and with what."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping

import keras
import numpy
import sklearn.dummy
import sklearn.feature_extraction.text
import sklearn.linear_model
import sklearn.metrics
import sklearn.pipeline
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from examples import dataset

BATCH_ROWS = 512


class Record(BaseModel):
    """What a training writes: JSON with names in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Score(Record):
    """Accuracy (0 to 1) over ``n`` samples."""

    accuracy: float
    n: int


class Training(Record):
    optimizer: str
    learning_rate: float
    epochs_asked: int
    epochs_run: int
    seed: int
    train_n: int
    took_s: float


class TrainingRecord(Record):
    """Stored as ``training.json``. ``confusion[true][predicted]`` counts the held-out samples."""

    schema_version: int = 1
    family: str
    version: str
    data: str
    held_out: Score
    held_out_parts: dict[str, Score]
    baselines: dict[str, float]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    parameters: int
    training: Training
    digests: dict[str, str]
    versions: dict[str, str]


def predict(model: keras.Model, inputs: dataset.Array) -> numpy.ndarray:
    """The model's raw outputs."""
    # Called rather than predict(): that compiles once per shape of a batch, and warns of it.
    starts = range(0, len(inputs), BATCH_ROWS)
    return numpy.concatenate([numpy.asarray(model(inputs[at : at + BATCH_ROWS], training=False)) for at in starts])


def classes_of(outputs: numpy.ndarray) -> numpy.ndarray:
    """The class of each row: the likeliest of several, or whether a single probability is at least one half."""
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] >= 0.5).astype(int)


def score(model: keras.Model, inputs: dataset.Array, labels: dataset.Array) -> Score:
    return Score(accuracy=float(numpy.mean(classes_of(predict(model, inputs)) == labels)), n=len(labels))


def confusion(model: keras.Model, data: dataset.Dataset) -> tuple[tuple[int, ...], ...]:
    predicted = classes_of(predict(model, data.held_out_inputs))
    matrix = sklearn.metrics.confusion_matrix(data.held_out_labels, predicted, labels=range(len(data.classes)))
    return tuple(tuple(int(count) for count in row) for row in matrix)


def baselines(data: dataset.Dataset) -> dict[str, float]:
    """What a model must beat: the most frequent class, and for text a linear model that ignores the words' order."""
    majority = sklearn.dummy.DummyClassifier().fit(data.train_inputs, data.train_labels)
    found = {"majority": float(majority.score(data.held_out_inputs, data.held_out_labels))}
    if data.vocabulary:
        bag = sklearn.pipeline.make_pipeline(
            sklearn.feature_extraction.text.CountVectorizer(analyzer=_without_padding),
            sklearn.linear_model.LogisticRegression(max_iter=1000),
        ).fit(data.train_inputs.tolist(), data.train_labels)
        found["bagOfWords"] = float(bag.score(data.held_out_inputs.tolist(), data.held_out_labels))
    return found


def versions() -> Mapping[str, str]:
    """What the numbers were made with."""
    names = ("keras", "tensorflow-cpu", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def _without_padding(ids: list[int]) -> list[int]:
    return [number for number in ids if number != 0]
