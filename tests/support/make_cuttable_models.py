"""Makes small models that can be cut into stages, in the folder given as argument; run as a process of its own.

With a number of MiB as second argument it makes one model with weights of that size, in 16 layers, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

LAYERS = 16
layers = keras.layers


def mlp() -> keras.Model:
    """Three layers with weights."""
    rows = keras.Input((64,), name="x")
    hidden = layers.Dense(256, activation="relu")(rows)
    hidden = layers.Dense(256, activation="relu")(hidden)
    return keras.Model(rows, layers.Dense(10, activation="softmax")(hidden))


def residual() -> keras.Model:
    """Convolutions with a branch around one of them."""
    image = keras.Input((12, 12, 1))
    x = layers.Conv2D(8, 3, activation="relu", padding="same")(image)
    x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))])
    x = layers.Flatten()(layers.MaxPool2D()(x))
    return keras.Model(image, layers.Dense(10)(x))


def lstm() -> keras.Model:
    """With dropout, whose seed each call assigns."""
    words = keras.Input((16,), dtype="int32")
    x = layers.Embedding(100, 16)(words)
    x = layers.LSTM(16, dropout=0.2, recurrent_dropout=0.2)(x)
    return keras.Model(words, layers.Dense(3)(x))


def branches() -> keras.Model:
    """Two inputs that meet, and two outputs."""
    a, b = keras.Input((8,), name="a"), keras.Input((4,), name="b")
    x = layers.Concatenate()([layers.Dense(16)(a), layers.Dense(16)(b)])
    x = layers.Dense(32, activation="relu")(x)
    return keras.Model({"a": a, "b": b}, {"p": layers.Dense(2)(x), "q": layers.Dense(3)(x)})


class Tied(tf.Module):
    """A table that the first layer reads and the last one too."""

    def __init__(self) -> None:
        super().__init__()
        generator = np.random.default_rng(2)
        self.table = tf.Variable(generator.random((50, 8), dtype=np.float32))
        self.w = tf.Variable(generator.random((8, 8), dtype=np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 16], tf.int32, "words")])
    def call(self, words: tf.Tensor) -> dict[str, tf.Tensor]:
        x = tf.reduce_mean(tf.gather(self.table, words), axis=1)
        return {"scores": tf.matmul(tf.nn.tanh(x @ self.w), self.table, transpose_b=True)}


class Large(tf.Module):
    """Layers without an activation, whose output stays small."""

    def __init__(self, mebibytes: int) -> None:
        super().__init__()
        side = int((mebibytes * 2**20 / LAYERS / 4) ** 0.5)
        generator = np.random.default_rng(1)
        self.w = [
            tf.Variable(generator.standard_normal((side, side), dtype=np.float32) / side**0.5) for _ in range(LAYERS)
        ]
        self.call = tf.function(self._call, input_signature=[tf.TensorSpec([None, side], tf.float32, "x")])

    def _call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        for w in self.w:
            x = tf.nn.relu(x @ w)
        return {"y": x[:, :8]}


def main() -> None:
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        large = Large(int(sys.argv[2]))
        tf.saved_model.save(large, str(folder / "large"), signatures=large.call)
        return
    keras.utils.set_random_seed(1)
    for make in (mlp, residual, lstm, branches):
        make().export(str(folder / make.__name__), verbose=False)
    tied = Tied()
    tf.saved_model.save(tied, str(folder / "tied"), signatures=tied.call)
    mlp().save(folder / "mlp.keras")


if __name__ == "__main__":
    main()
