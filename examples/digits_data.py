"""Handwritten digits as 28 by 28 images with values from 0 to 1: scikit-learn's bundled 1,797 or MNIST's 70,000."""

from __future__ import annotations

import pathlib

import numpy
import numpy.typing
import scipy.ndimage  # type: ignore[import-untyped]  # ships no types
import sklearn.datasets
import sklearn.model_selection

from examples import dataset

Images = numpy.typing.NDArray[numpy.float32]

SIDE_PIXELS = 28
BUNDLED = "bundled"
MNIST = "mnist"
# The bundled digits are few: each is learned from three times, moved by up to two pixels twice.
MOVED_COPIES = 2
MOVED_PIXELS = 2
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
        vary=move if source == BUNDLED else dataset.keep_order,
    )


def enlarge(images: Images) -> Images:
    """8 by 8 images with values 0 to 16 as 28 by 28 with 0 to 1, bilinear between pixel centres: nothing shifts."""
    factor = SIDE_PIXELS / images.shape[1]
    enlarged = scipy.ndimage.zoom(images, (1, factor, factor), order=1, mode="nearest", grid_mode=True)
    scaled: Images = numpy.clip(enlarged / 16.0, 0.0, 1.0).astype("float32")
    return scaled


def move(inputs: dataset.Array, labels: dataset.Array) -> tuple[dataset.Array, dataset.Array]:
    """The images and, behind them, moved copies; in the shape they came in."""
    images = inputs.reshape(-1, SIDE_PIXELS, SIDE_PIXELS)
    padded = numpy.pad(images, ((0, 0), (MOVED_PIXELS, MOVED_PIXELS), (MOVED_PIXELS, MOVED_PIXELS)))
    chance = numpy.random.default_rng(0)
    copies = [images]
    for _ in range(MOVED_COPIES):
        corners = chance.integers(0, 2 * MOVED_PIXELS + 1, (len(images), 2))
        cut = [image[y : y + SIDE_PIXELS, x : x + SIDE_PIXELS] for image, (y, x) in zip(padded, corners, strict=True)]
        copies.append(numpy.stack(cut))
    return numpy.concatenate(copies).reshape(-1, *inputs.shape[1:]), numpy.tile(labels, MOVED_COPIES + 1)


def _bundled() -> tuple[Images, ...]:
    digits = sklearn.datasets.load_digits()
    # The split is part of the data, not of a training run: every seed and optimizer is judged by the same images.
    train_images, held_out_images, train_labels, held_out_labels = sklearn.model_selection.train_test_split(
        enlarge(digits.images), digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return train_images, train_labels, held_out_images, held_out_labels


def _downloaded() -> tuple[Images, ...]:
    import keras

    (train_images, train_labels), (held_out_images, held_out_labels) = dataset.download(
        keras.datasets.mnist.load_data,
        name="MNIST",
        instead="--data bundled, or --data with the path of an mnist.npz",
    )
    return _scaled(train_images), train_labels, _scaled(held_out_images), held_out_labels


def _from_npz(path: pathlib.Path) -> tuple[Images, ...]:
    try:
        with numpy.load(path) as arrays:
            return _scaled(arrays["x_train"]), arrays["y_train"], _scaled(arrays["x_test"]), arrays["y_test"]
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise dataset.DataUnavailable(f"{path} can't be read in the layout of mnist.npz: {error}") from error


def _scaled(images: Images) -> Images:
    return (images / 255.0).astype("float32")
