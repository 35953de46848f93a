"""The five networks and the five ways to train them: the tables that say what is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras

from examples import dataset, digits_data, sentiment_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One network: its data, its layers and how it is trained when nothing else is asked for."""

    name: str
    load: Callable[[str], dataset.Dataset]
    default_data: str
    build: Callable[[dataset.Dataset], keras.Model]
    loss: str
    batch_size: int
    epochs: int
    patience_epochs: int


def _dense(data: dataset.Dataset) -> keras.Model:
    pixels = keras.Input((data.train_inputs.shape[1],), dtype="float32", name="pixels")
    return keras.Model(
        pixels, keras.layers.Dense(len(data.classes), "softmax", name="probabilities")(pixels), name="dense"
    )


def _cnn(data: dataset.Dataset) -> keras.Model:
    image = keras.Input(data.train_inputs.shape[1:], dtype="float32", name="image")
    hidden = keras.layers.Conv2D(32, 3, activation="relu")(image)
    hidden = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(hidden))
    return keras.Model(
        image, keras.layers.Dense(len(data.classes), "softmax", name="probabilities")(hidden), name="cnn"
    )


def _lstm(data: dataset.Dataset) -> keras.Model:
    return _recurrent(data, keras.layers.LSTM(128, dropout=0.2, recurrent_dropout=0.2), name="lstm")


def _gru(data: dataset.Dataset) -> keras.Model:
    return _recurrent(data, keras.layers.GRU(128, dropout=0.2, recurrent_dropout=0.2), name="gru")


def _recurrent(data: dataset.Dataset, layer: keras.layers.Layer, *, name: str) -> keras.Model:
    tokens = keras.Input((data.train_inputs.shape[1],), dtype="int32", name="tokens")
    hidden = layer(keras.layers.Embedding(len(data.vocabulary), 64)(tokens))
    return keras.Model(tokens, keras.layers.Dense(1, "sigmoid", name="positive")(hidden), name=name)


def _attention(data: dataset.Dataset) -> keras.Model:
    """One block of an encoder: self-attention and a dense part, each added to its input, and the mean over the words.

    Source: A. Vaswani and others, Attention is all you need (2017), section 3.1; the position of a word is learned.
    Padding is a word like any other, as for the recurrent networks.
    """
    length = data.train_inputs.shape[1]
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    positions = keras.ops.cumsum(keras.ops.ones_like(tokens), axis=1) - 1
    words = keras.layers.Embedding(len(data.vocabulary), 64)(tokens)
    words = keras.layers.Add()([words, keras.layers.Embedding(length, 64)(positions)])
    words = keras.layers.Dropout(0.2)(words)
    attended = keras.layers.MultiHeadAttention(num_heads=4, key_dim=16, dropout=0.2)(words, words)
    words = keras.layers.LayerNormalization()(keras.layers.Add()([words, attended]))
    changed = keras.layers.Dense(64)(keras.layers.Dense(128, "relu")(words))
    words = keras.layers.LayerNormalization()(keras.layers.Add()([words, keras.layers.Dropout(0.2)(changed)]))
    mean = keras.layers.GlobalAveragePooling1D()(words)
    return keras.Model(tokens, keras.layers.Dense(1, "sigmoid", name="positive")(mean), name="attention")


def _text_family(name: str, build: Callable[[dataset.Dataset], keras.Model]) -> Family:
    """Trained alike on the same texts, so that their results can be compared."""
    return Family(
        name=name,
        load=sentiment_data.load,
        default_data=sentiment_data.WRITTEN,
        build=build,
        loss="binary_crossentropy",
        batch_size=64,
        epochs=10,
        patience_epochs=3,
    )


FAMILIES: Mapping[str, Family] = {
    "dense": Family(
        name="dense",
        load=lambda source: digits_data.load(source, flat=True),
        default_data=digits_data.BUNDLED,
        build=_dense,
        loss="sparse_categorical_crossentropy",
        batch_size=64,
        epochs=16,
        patience_epochs=4,
    ),
    "cnn": Family(
        name="cnn",
        load=lambda source: digits_data.load(source, flat=False),
        default_data=digits_data.BUNDLED,
        build=_cnn,
        loss="sparse_categorical_crossentropy",
        batch_size=64,
        epochs=7,
        patience_epochs=3,
    ),
    "lstm": _text_family("lstm", _lstm),
    "gru": _text_family("gru", _gru),
    "attention": _text_family("attention", _attention),
}

# Each with a learning rate at which all families learn; --learning-rate overrides it.
OPTIMIZERS: Mapping[str, tuple[Callable[..., Any], float]] = {
    "sgd": (keras.optimizers.SGD, 0.1),
    "momentum": (lambda **settings: keras.optimizers.SGD(momentum=0.9, **settings), 0.02),
    "adagrad": (keras.optimizers.Adagrad, 0.05),
    "rmsprop": (keras.optimizers.RMSprop, 0.001),
    "adam": (keras.optimizers.Adam, 0.003),
}


def optimizer(name: str, learning_rate: float | None = None) -> keras.optimizers.Optimizer:
    """An optimizer of the table, with its own learning rate unless another is given."""
    create, usual = OPTIMIZERS[name]
    return create(learning_rate=usual if learning_rate is None else learning_rate)
