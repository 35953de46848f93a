"""Handwritten digits as 28 by 28 images with values from 0 to 1: scikit-learn's bundled 1,797 or MNIST's 70,000."""

from __future__ import annotations

import pathlib
import urllib.error

import numpy
import scipy.ndimage
import sklearn.datasets
import sklearn.model_selection

from examples import dataset

SIDE_PIXELS = 28
BUNDLED = "bundled"
MNIST = "mnist"
CLASSES = tuple(str(digit) for digit in range(10))


def load(source: str = BUNDLED, *, flat: bool) -> dataset.Dataset:
    """``source`` is ``bundled``, ``mnist`` (downloaded by Keras) or the path of an ``mnist.npz``.

    ``flat`` gives rows of 784 values for the dense network, else (28, 28, 1) for the convolutional one.

    Raises:
        DataUnavailable: MNIST can't be downloaded here.
    """
    if source == BUNDLED:
        name, arrays = "scikit-learn digits, 8x8 interpolated to 28x28, a random fifth held out", _bundled()
    elif source == MNIST:
        name, arrays = "MNIST, its own test set held out", _downloaded()
    else:
        name, arrays = f"MNIST layout from {pathlib.Path(source).name}", _from_npz(pathlib.Path(source))
    train_images, train_labels, held_out_images, held_out_labels = arrays
    shape = (-1, SIDE_PIXELS * SIDE_PIXELS) if flat else (-1, SIDE_PIXELS, SIDE_PIXELS, 1)
    return dataset.Dataset(
        name=name,
        classes=CLASSES,
        train_inputs=train_images.reshape(shape),
        train_labels=train_labels.astype("int32"),
        held_out_inputs=held_out_images.reshape(shape),
        held_out_labels=held_out_labels.astype("int32"),
    )


def enlarge(images: numpy.ndarray) -> numpy.ndarray:
    """8 by 8 images with values 0 to 16 as 28 by 28 with 0 to 1, bilinear between pixel centres: nothing shifts."""
    factor = SIDE_PIXELS / images.shape[1]
    enlarged = scipy.ndimage.zoom(images, (1, factor, factor), order=1, mode="nearest", grid_mode=True)
    return numpy.clip(enlarged / 16.0, 0.0, 1.0).astype("float32")


def _bundled() -> tuple[numpy.ndarray, ...]:
    digits = sklearn.datasets.load_digits()
    # The split is part of the data, not of a training run: every seed and optimizer is judged by the same images.
    train_images, held_out_images, train_labels, held_out_labels = sklearn.model_selection.train_test_split(
        enlarge(digits.images), digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return train_images, train_labels, held_out_images, held_out_labels


def _downloaded() -> tuple[numpy.ndarray, ...]:
    import keras

    try:
        (train_images, train_labels), (held_out_images, held_out_labels) = keras.datasets.mnist.load_data()
    except (urllib.error.URLError, OSError) as error:
        raise dataset.DataUnavailable(
            f"MNIST can't be downloaded here ({error}); use --data bundled, or --data with the path of an mnist.npz"
        ) from error
    return _scaled(train_images), train_labels, _scaled(held_out_images), held_out_labels


def _from_npz(path: pathlib.Path) -> tuple[numpy.ndarray, ...]:
    try:
        with numpy.load(path) as arrays:
            return _scaled(arrays["x_train"]), arrays["y_train"], _scaled(arrays["x_test"]), arrays["y_test"]
    except (OSError, KeyError) as error:
        raise dataset.DataUnavailable(f"{path} can't be read in the layout of mnist.npz: {error}") from error


def _scaled(images: numpy.ndarray) -> numpy.ndarray:
    return (images / 255.0).astype("float32")
