"""Keras models by how they are put together, of mixed precision, and of `keras.applications`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tests.corpus.entry import Built, Entry, Form, array, indices, keras_entry, numbers, to_arrays

L = keras.layers


class Gated(keras.layers.Layer):
    """A layer of a person's own."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.dense = L.Dense(4)

    def call(self, x: Any) -> Any:
        return x * keras.ops.sigmoid(self.dense(x))


class Tower(keras.Model):
    """A subclassed model."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.hidden, self.score = L.Dense(5, "relu"), L.Dense(1)

    def call(self, x: Any) -> Any:
        return self.score(self.hidden(x))


def dict_inputs() -> tuple[Any, Any]:
    user, item = keras.Input((2,), name="user"), keras.Input((3,), name="item")
    model = keras.Model({"user": user, "item": item}, L.Dense(2)(L.Concatenate()([user, item])))
    return model, {"user": numbers(3, 2), "item": numbers(3, 3)}


def list_outputs() -> tuple[Any, Any]:
    x = keras.Input((4,), name="x")
    return keras.Model(x, [L.Dense(2)(x), L.Dense(3)(x)]), numbers(3, 4)


def dict_outputs() -> tuple[Any, Any]:
    x = keras.Input((4,), name="x")
    return keras.Model(x, {"score": L.Dense(1)(x), "kind": L.Dense(3, "softmax")(x)}), numbers(3, 4)


def nested_outputs() -> tuple[Any, Any]:
    x = keras.Input((4,), name="x")
    return keras.Model(x, [L.Dense(1)(x), [L.Dense(2)(x), L.Dense(3)(x)]]), numbers(3, 4)


def tables() -> tuple[Any, Any]:
    """Columns of a table: numbers, text and whole numbers, as structured data has them."""
    age, city, plan = (
        keras.Input((1,), name="age"),
        keras.Input((1,), name="city", dtype="string"),
        keras.Input((1,), name="plan", dtype="int32"),
    )
    parts = [
        L.Normalization(mean=40.0, variance=100.0)(age),
        L.CategoryEncoding(4)(L.StringLookup(vocabulary=["Basel", "Bern"], num_oov_indices=1)(city)),
        L.CategoryEncoding(5)(plan),
    ]
    model = keras.Model({"age": age, "city": city, "plan": plan}, L.Dense(2)(L.Concatenate()(parts)))
    given = {
        "age": array([[30], [55]]),
        "city": array([["Bern"], ["Chur"]], "string"),
        "plan": array([[0], [4]], "int32"),
    }
    return model, given


def fixed_batch() -> tuple[Any, Any]:
    x = keras.Input(batch_shape=(2, 4), name="x")
    return keras.Model(x, L.Dense(3)(x)), numbers(2, 4)


def within() -> tuple[Any, Any]:
    """A model as a layer of another."""
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, "relu")])
    x = keras.Input((4,), name="x")
    return keras.Model(x, L.Dense(2)(inner(x))), numbers(3, 4)


def shared() -> tuple[Any, Any]:
    """Two inputs through one layer."""
    layer, a, b = L.Dense(3), keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], keras.ops.abs(layer(a) - layer(b))), [numbers(2, 4), numbers(2, 4, seed=5)]


def of_policy(policy: str) -> Callable[[], tuple[Any, Any]]:
    def make() -> tuple[Any, Any]:
        x = keras.Input((4,), name="x")
        y = L.Dense(8, "relu", dtype=policy)(x)
        return keras.Model(x, L.Dense(2, dtype="float32")(y)), numbers(3, 4)

    return make


def quantized() -> tuple[Any, Any]:
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, "relu"), L.Dense(2)])
    model.quantize("int8")
    return model, numbers(3, 4)


def transformer() -> tuple[Any, Any]:
    tokens = keras.Input((6,), dtype="int32", name="tokens")
    x = L.Embedding(10, 8)(tokens) + L.Embedding(6, 8)(keras.ops.arange(6))
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4)(x, x))
    x = L.LayerNormalization()(x + L.Dense(8)(L.Dense(16, "gelu")(x)))
    return keras.Model(tokens, L.Dense(10)(x)), indices(2, 6)


def autoencoder() -> tuple[Any, Any]:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(4, 3, 2, "same", activation="relu"),
            L.Conv2DTranspose(1, 3, 2, "same", activation="sigmoid"),
        ]
    )
    return model, numbers(2, 8, 8, 1)


def seq2seq() -> tuple[Any, Any]:
    """Encoder and decoder with the encoder's state."""
    source, target = keras.Input((None, 3), name="source"), keras.Input((None, 2), name="target")
    _, h, c = L.LSTM(4, return_state=True)(source)
    decoded = L.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
    return keras.Model([source, target], L.Dense(2)(decoded)), [numbers(2, 5, 3), numbers(2, 4, 2)]


def own_layer() -> tuple[Any, Any]:
    return keras.Sequential([keras.Input((4,)), Gated(), L.Dense(2)]), numbers(3, 4)


def lambda_layer() -> tuple[Any, Any]:
    return keras.Sequential([keras.Input((4,)), L.Lambda(lambda x: x * 2.0)]), numbers(3, 4)


def subclassed() -> tuple[Any, Any]:
    model, given = Tower(), numbers(3, 4)
    model(given)
    return model, given


def endpoint(folder: Path) -> Built:
    """Several signatures, by `ExportArchive`."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = [tf.TensorSpec([None, 4], tf.float32, "x")]
    archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=spec)
    archive.add_endpoint("doubled", lambda x: 2.0 * model(x, training=False), input_signature=spec)
    archive.write_out(str(folder / "model"), verbose=False)
    given = numbers(3, 4)
    return Built(folder / "model", {"x": given}, to_arrays(2.0 * model(given, training=False)))


def application(name: str, size: int = 32, **given: Any) -> Callable[[], tuple[Any, Any]]:
    def make() -> tuple[Any, Any]:
        model = getattr(keras.applications, name)(
            weights=None, input_shape=(size, size, 3), include_top=False, pooling="avg", **given
        )
        return model, np.abs(numbers(1, size, size, 3)) * 100

    return make


ENTRIES: list[Entry] = [
    keras_entry("Inputs as a dict", dict_inputs),
    keras_entry("Inputs as a dict, exported", dict_inputs, Form.EXPORTED),
    keras_entry("Outputs as a list", list_outputs),
    keras_entry("Outputs as a dict", dict_outputs),
    keras_entry("Outputs as a dict, exported", dict_outputs, Form.EXPORTED),
    keras_entry("Outputs as lists within a list", nested_outputs),
    keras_entry("A table's columns: numbers, text, whole numbers", tables),
    keras_entry("A fixed batch of 2 rows", fixed_batch, shares=False),
    keras_entry("A model within a model", within),
    keras_entry("One layer for two inputs", shared),
    keras_entry("Mixed precision with float16", of_policy("mixed_float16")),
    keras_entry("Mixed precision with bfloat16", of_policy("mixed_bfloat16")),
    keras_entry("Mixed precision with float16, exported", of_policy("mixed_float16"), Form.EXPORTED),
    keras_entry("Quantized to int8 by Keras", quantized),
    keras_entry("Quantized to int8 by Keras, exported", quantized, Form.EXPORTED),
    keras_entry("Transformer block over tokens", transformer),
    keras_entry("Convolutional autoencoder", autoencoder),
    keras_entry("Encoder and decoder (LSTM with state)", seq2seq),
    keras_entry("A layer of one's own, exported", own_layer, Form.EXPORTED),
    keras_entry("Lambda, exported", lambda_layer, Form.EXPORTED),
    keras_entry("Subclassed model, exported", subclassed, Form.EXPORTED),
    keras_entry("Functional model saved by TensorFlow", within, Form.SAVED),
    Entry("Keras endpoints, one of two by name", Form.EXPORTED, endpoint, source={"signature": "doubled"}),
    keras_entry("keras.applications.MobileNetV2", application("MobileNetV2", alpha=0.35)),
    replace(keras_entry("keras.applications.ResNet50", application("ResNet50")), is_nightly=True),
    replace(keras_entry("keras.applications.EfficientNetB0", application("EfficientNetB0")), is_nightly=True),
    replace(keras_entry("keras.applications.DenseNet121", application("DenseNet121")), is_nightly=True),
]
