"""Strings in and out: text layers, tables, encoded images, tf.Examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tests.corpus.entry import Arrays, Built, Entry, Form, array, keras_entry, save_form, saved_entry, to_arrays
from tests.support.warmup_records import PLACE, PREDICT, field

L = keras.layers
WORDS = ["good", "bad", "fine"]


def text(*layers: Any, shape: tuple[int, ...] = (1,)) -> Any:
    return keras.Sequential([keras.Input(shape, dtype="string", name="text"), *layers])


def reviews() -> Any:
    return array([["good and fine"], ["bad"], [""]], "string")


def classified() -> tuple[Any, Any]:
    layers = [L.TextVectorization(vocabulary=WORDS, output_sequence_length=4), L.Embedding(5, 3), L.Flatten()]
    return text(*layers, L.Dense(2)), reviews()


def word_convolution() -> tuple[Any, Any]:
    """Refuses a text of fewer than three words, so also the made-up one."""
    layers = [L.TextVectorization(vocabulary=WORDS), L.Embedding(5, 3), L.Conv1D(2, 3), L.GlobalMaxPooling1D()]
    return text(*layers), array([["good and fine"], ["bad good fine"]], "string")


def crossed() -> tuple[Any, Any]:
    a, b = keras.Input((1,), dtype="string", name="a"), keras.Input((1,), dtype="string", name="b")
    model = keras.Model([a, b], L.HashedCrossing(20)((a, b)))
    return model, [array([["x"], ["y"]], "string"), array([["1"], ["2"]], "string")]


KERAS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "TextVectorization, Embedding, Dense": classified,
    "TextVectorization with TF-IDF": lambda: (
        text(L.TextVectorization(vocabulary=WORDS, idf_weights=[1.0, 2.0, 3.0], output_mode="tf_idf")),
        reviews(),
    ),
    "StringLookup, one-hot": lambda: (
        text(L.StringLookup(vocabulary=WORDS, output_mode="one_hot")),
        array([["good"], ["new"]], "string"),
    ),
    "Hashing": lambda: (text(L.Hashing(7)), array([["good"], ["new"]], "string")),
    "HashedCrossing of two inputs": crossed,
    "IntegerLookup": lambda: (
        keras.Sequential([keras.Input((2,), dtype="int64"), L.IntegerLookup(vocabulary=[10, 20])]),
        array([[10, 20], [30, 10]], "int64"),
    ),
    "StringLookup backwards: strings out": lambda: (
        keras.Sequential([keras.Input((1,), dtype="int64"), L.StringLookup(vocabulary=WORDS, invert=True)]),
        array([[1], [3], [0]], "int64"),
    ),
}


def served(spec: Any, call: Callable[..., Any], **given: np.ndarray[Any, Any]) -> tuple[Any, Any, Arrays]:
    """A function of one input as a module's."""
    module = tf.Module()
    function = tf.function(call, input_signature=[spec], autograph=False)
    module.call = function
    return module, function, given


STRINGS = tf.TensorSpec([None], tf.string, "s")


def pictures() -> list[bytes]:
    return [tf.io.encode_png(array(np.arange(48).reshape(4, 4, 3) + i, "uint8")).numpy() for i in (0, 90)]


def images() -> tuple[Any, Any, Arrays]:

    def call(s: tf.Tensor) -> dict[str, tf.Tensor]:
        def light(one: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.cast(tf.io.decode_png(one, channels=3), tf.float32), [0, 1])

        return {"light": tf.map_fn(light, s, fn_output_signature=tf.TensorSpec([3], tf.float32))}

    return served(STRINGS, call, s=array(pictures(), "string"))


PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGPgEpEDAABoAD1UCKP3AAAAAElFTkSuQmCC",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4wcAAAAJcAMlDyBJGAAAAAElFTkSuQmCC",
)
"""Two images of one pixel."""


def pictures_out() -> tuple[Any, Any, Arrays]:
    spec = tf.TensorSpec([None, 2, 2, 3], tf.uint8, "pixels")

    def call(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"png": tf.map_fn(tf.io.encode_png, pixels, fn_output_signature=tf.string)}

    return served(spec, call, pixels=array(np.arange(24).reshape(2, 2, 2, 3), "uint8"))


def example(**features: Any) -> bytes:
    """A serialized tf.Example of lists of floats, integers or bytes."""

    def feature(values: Any) -> Any:
        match values[0]:
            case float():
                return tf.train.Feature(float_list=tf.train.FloatList(value=values))
            case int():
                return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
            case _:
                return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    named = {name: feature(values) for name, values in features.items()}
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()
    return serialized


def examples() -> tuple[Any, Any, Arrays]:
    """The feature has no default, so an empty example is refused."""

    def call(s: tf.Tensor) -> dict[str, tf.Tensor]:
        read = tf.io.parse_example(s, {"width": tf.io.FixedLenFeature([2], tf.float32)})
        return {"scores": tf.nn.softmax(read["width"])}

    given = [example(width=[1.0, 2.0]), example(width=[0.5, -1.0])]
    return served(STRINGS, call, s=array(given, "string"))


def warmed_examples(folder: Path) -> Built:
    """The same, with requests for its warm-up in TensorFlow's own form."""
    module, function, given = examples()
    path = save_form(module, function, folder, Form.SAVED)
    request = field(1, b"") + field(
        2, field(1, b"s") + field(2, tf.make_tensor_proto(given["s"].tolist(), tf.string).SerializeToString())
    )
    (path / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(path / PLACE)) as file:
        file.write(field(PREDICT, field(1, request)))
    return Built(path, given, to_arrays(function(tf.constant(given["s"].tolist()))))


def sparse_examples() -> tuple[Any, Any, Arrays]:
    def call(s: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {"ids": tf.io.VarLenFeature(tf.int64), "name": tf.io.FixedLenFeature([], tf.string, "none")}
        read = tf.io.parse_example(s, features)
        return {"sum": tf.sparse.reduce_sum(read["ids"], 1, output_is_sparse=False), "name": read["name"]}

    given = [example(ids=[1, 2, 3]), example(ids=[5], name=[b"five"])]
    return served(STRINGS, call, s=array(given, "string"))


def lengths() -> tuple[Any, Any, Arrays]:
    def call(s: tf.Tensor) -> dict[str, tf.Tensor]:
        parts = tf.strings.split(tf.strings.lower(s))
        return {"words": parts.row_lengths(), "first": parts.to_tensor("")[:, 0]}

    return served(STRINGS, call, s=array(["Grüezi mitenand", "one two three"], "string"))


def table() -> tuple[Any, Any, Arrays]:
    values = tf.lookup.KeyValueTensorInitializer(tf.constant(WORDS), tf.constant([1, 2, 3], tf.int64))
    rows = tf.lookup.StaticHashTable(values, 0)
    module, function, given = served(STRINGS, lambda s: {"n": rows.lookup(s)}, s=array(["bad", "x"], "string"))
    module.rows = rows
    return module, function, given


class Cities(tf.Module):
    """Numbers cities by a vocabulary in its assets."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.asset = tf.saved_model.Asset(str(file))
        index = tf.lookup.TextFileIndex
        rows = tf.lookup.TextFileInitializer(self.asset, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(rows, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "city")])
    def call(self, city: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"number": self.table.lookup(city)}


def vocabulary_file(folder: Path) -> Built:
    file = folder / "cities.txt"
    file.write_text("Basel\nBern\n")
    module = Cities(file)
    tf.saved_model.save(module, str(folder / "model"), signatures=module.call)
    file.unlink()
    given = {"city": array(["Bern", "nowhere"], "string")}
    return Built(folder / "model", given, {"number": array([1, -1], "int64")})


ENTRIES: list[Entry] = [
    *(keras_entry(name, make) for name, make in KERAS.items()),
    keras_entry("TextVectorization, exported", classified, Form.EXPORTED),
    keras_entry("Word convolution that refuses short texts", word_convolution, shares=False),
    saved_entry("Images as encoded bytes (`b64`)", images, shares=False),
    dataclasses.replace(
        saved_entry("Images as encoded bytes, with two images as an example", images, shares=True),
        example=json.dumps({"instances": [{"b64": each} for each in PNG]}),
    ),
    Entry("tf.Examples, with `tf_serving_warmup_requests`", Form.SAVED, warmed_examples, shares=True),
    saved_entry("Images out as encoded bytes", pictures_out),
    saved_entry("tf.Examples with a feature that has no default", examples, shares=False),
    saved_entry("tf.Examples with lists of any length", sparse_examples),
    saved_entry("Words counted: ragged inside, strings in and out", lengths),
    saved_entry("A table of constants", table),
    Entry("A table from a vocabulary in the assets", Form.SAVED, vocabulary_file),
]
