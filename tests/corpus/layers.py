"""Each family of Keras' own layers, as a person would save it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from tests.corpus.entry import Entry, Form, array, indices, keras_entry, numbers

L = keras.layers


def stacked(shape: Sequence[int | None], *layers: Any, dtype: str = "float32") -> Any:
    """A sequential model."""
    return keras.Sequential([keras.Input(tuple(shape), dtype=dtype), *layers])


def merged() -> tuple[Any, Any]:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    both = [L.Add()([a, b]), L.Multiply()([a, b]), L.Average()([a, b]), L.Maximum()([a, b]), L.Subtract()([a, b])]
    joined = L.Concatenate()([*both, L.Minimum()([a, b]), L.Dot(axes=1)([a, b])])
    return keras.Model([a, b], joined), [numbers(3, 4), numbers(3, 4, seed=2)]


def attention() -> tuple[Any, Any]:
    x = keras.Input((5, 8), name="x")
    y = L.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    y = L.LayerNormalization()(L.Add()([x, y]))
    return keras.Model(x, L.GroupQueryAttention(4, 4, 2)(y, y)), numbers(2, 5, 8)


def luong() -> tuple[Any, Any]:
    query, value = keras.Input((3, 4), name="query"), keras.Input((5, 4), name="value")
    both = L.Concatenate()([L.Attention()([query, value]), L.AdditiveAttention()([query, value])])
    return keras.Model([query, value], both), [numbers(2, 3, 4), numbers(2, 5, 4)]


def residual() -> tuple[Any, Any]:
    x = keras.Input((8, 8, 3), name="image")
    y = L.Conv2D(3, 3, padding="same", activation="relu")(x / 255.0)
    y = L.BatchNormalization()(y) + x
    return keras.Model(x, L.GlobalAveragePooling2D()(y)), numbers(2, 8, 8, 3) * 50


def normalised() -> tuple[Any, Any]:
    layer = L.Normalization()
    layer.adapt(numbers(50, 4) * 3 + 1)
    return stacked([4], layer, L.Dense(2)), numbers(3, 4)


SEQUENTIAL: dict[str, Callable[[], tuple[Any, Any]]] = {
    "Dense": lambda: (stacked([4], L.Dense(8, "relu"), L.Dense(3, "softmax")), numbers(3, 4)),
    "Activations: PReLU, LeakyReLU, ELU, ReLU, Softmax": lambda: (
        stacked([4], L.PReLU(), L.LeakyReLU(), L.ELU(), L.ReLU(6), L.Activation("gelu"), L.Softmax()),
        numbers(3, 4),
    ),
    "Conv1D, MaxPooling1D": lambda: (
        stacked([12, 2], L.Conv1D(4, 3, padding="causal"), L.MaxPooling1D(2), L.GlobalMaxPooling1D()),
        numbers(2, 12, 2),
    ),
    "Conv2D, BatchNormalization, AveragePooling2D": lambda: (
        stacked([8, 8, 3], L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(), L.AveragePooling2D(2), L.Flatten()),
        numbers(2, 8, 8, 3),
    ),
    "Conv3D, MaxPooling3D": lambda: (
        stacked([4, 4, 4, 1], L.Conv3D(2, 2), L.MaxPooling3D(2), L.Flatten()),
        numbers(2, 4, 4, 4, 1),
    ),
    "SeparableConv2D, DepthwiseConv2D": lambda: (
        stacked([6, 6, 2], L.SeparableConv2D(3, 3), L.DepthwiseConv2D(2), L.GlobalMaxPooling2D()),
        numbers(2, 6, 6, 2),
    ),
    "Conv2DTranspose, UpSampling2D, Cropping2D, ZeroPadding2D": lambda: (
        stacked([4, 4, 1], L.Conv2DTranspose(2, 3, 2), L.UpSampling2D(), L.Cropping2D(3), L.ZeroPadding2D(1)),
        numbers(2, 4, 4, 1),
    ),
    "Convolutions over images of any size": lambda: (
        stacked([None, None, 3], L.Conv2D(2, 3), L.Conv2D(2, 3), L.GlobalAveragePooling2D()),
        numbers(2, 9, 7, 3),
    ),
    "Embedding, GlobalAveragePooling1D": lambda: (
        stacked([6], L.Embedding(10, 4, mask_zero=True), L.GlobalAveragePooling1D(), dtype="int32"),
        indices(3, 6),
    ),
    "SimpleRNN": lambda: (stacked([5, 3], L.SimpleRNN(4)), numbers(2, 5, 3)),
    "LSTM over sequences of any length": lambda: (
        stacked([None, 3], L.LSTM(4, return_sequences=True), L.LSTM(2)),
        numbers(2, 5, 3),
    ),
    "GRU": lambda: (stacked([5, 3], L.GRU(4)), numbers(2, 5, 3)),
    "Bidirectional LSTM with Masking": lambda: (
        stacked([5, 3], L.Masking(), L.Bidirectional(L.LSTM(3)), L.Dense(2)),
        np.concatenate([numbers(2, 3, 3), np.zeros((2, 2, 3), np.float32)], axis=1),
    ),
    "ConvLSTM2D": lambda: (stacked([3, 5, 5, 1], L.ConvLSTM2D(2, 3), L.Flatten()), numbers(2, 3, 5, 5, 1)),
    "RNN of LSTMCells": lambda: (
        stacked([4, 3], L.RNN(L.StackedRNNCells([L.LSTMCell(3), L.GRUCell(2)]))),
        numbers(2, 4, 3),
    ),
    "TimeDistributed": lambda: (stacked([4, 6], L.TimeDistributed(L.Dense(3))), numbers(2, 4, 6)),
    "Layer, group, unit and RMS normalization": lambda: (
        stacked([4], L.LayerNormalization(), L.GroupNormalization(2), L.RMSNormalization(), L.UnitNormalization()),
        numbers(3, 4),
    ),
    "SpectralNormalization": lambda: (stacked([4], L.SpectralNormalization(L.Dense(3))), numbers(3, 4)),
    "Dropout, GaussianNoise, ActivityRegularization": lambda: (
        stacked([4], L.Dropout(0.5), L.GaussianNoise(1.0), L.GaussianDropout(0.5), L.ActivityRegularization(0.1)),
        numbers(3, 4),
    ),
    "Reshape, Permute, RepeatVector, Flatten": lambda: (
        stacked([4], L.RepeatVector(3), L.Permute([2, 1]), L.Reshape([2, 6]), L.Flatten()),
        numbers(3, 4),
    ),
    "EinsumDense": lambda: (stacked([3, 4], L.EinsumDense("abc,cd->abd", [None, 5], bias_axes="d")), numbers(2, 3, 4)),
    "Rescaling, Resizing, CenterCrop": lambda: (
        stacked([9, 9, 3], L.Rescaling(1 / 255), L.Resizing(6, 6), L.CenterCrop(4, 4)),
        numbers(2, 9, 9, 3),
    ),
    "Image augmentation (off for predictions)": lambda: (
        stacked([6, 6, 3], L.RandomFlip(), L.RandomRotation(0.1), L.RandomContrast(0.1), L.GlobalMaxPooling2D()),
        numbers(2, 6, 6, 3),
    ),
    "Discretization, CategoryEncoding": lambda: (
        stacked([1], L.Discretization([-0.5, 0.0, 0.5]), L.CategoryEncoding(4)),
        numbers(5, 1),
    ),
    "STFTSpectrogram": lambda: (stacked([256, 1], L.STFTSpectrogram("log", 64, 32, 64)), numbers(2, 256, 1)),
    "Images as uint8": lambda: (
        stacked([4, 4, 3], L.Rescaling(1 / 255), L.Flatten(), L.Dense(2), dtype="uint8"),
        array(np.arange(96).reshape(2, 4, 4, 3), "uint8"),
    ),
}
FUNCTIONAL: dict[str, Callable[[], tuple[Any, Any]]] = {
    "Add, Multiply, Average, Maximum, Subtract, Dot": merged,
    "MultiHeadAttention, GroupQueryAttention": attention,
    "Attention, AdditiveAttention over two inputs": luong,
    "Arithmetic between layers, a residual connection": residual,
    "Normalization after adapt()": normalised,
}
ENTRIES: list[Entry] = [
    *(keras_entry(name, make) for name, make in (SEQUENTIAL | FUNCTIONAL).items()),
    keras_entry("Dense, trained and compiled", SEQUENTIAL["Dense"], Form.COMPILED, shares=True),
    keras_entry("Dense, exported", SEQUENTIAL["Dense"], Form.EXPORTED, shares=True),
    keras_entry("GRU, exported", SEQUENTIAL["GRU"], Form.EXPORTED),
    keras_entry("Attention, exported", attention, Form.EXPORTED),
]
