"""Images that are brighter than those that the model has learned from: as requests, and as training data."""

from __future__ import annotations

import pathlib

import numpy as np
import numpy.typing as npt

from fairlead_cli.demo import asking, training

BRIGHTER = 0.4
"""What is added to each pixel, of 1."""
_SIDE_PIXELS = 28
_WHITE = 255.0


def brighten(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """The images with a constant added, and cut at white."""
    found: npt.NDArray[np.float32] = np.clip(images.astype(np.float32) + BRIGHTER, 0, 1).astype(np.float32)
    return found


def mix(given: asking.Heldout) -> asking.Heldout:
    """Each image, and its brighter copy behind it."""
    pairs = np.stack([given.inputs.astype(np.float32), brighten(given.inputs)], axis=1)
    return asking.Heldout(inputs=pairs.reshape(-1, *given.inputs.shape[1:]), labels=np.repeat(given.labels, 2))


def shuffle(given: asking.Heldout, seed: int) -> asking.Heldout:
    """The samples in a random order that depends on the seed alone."""
    order = np.random.default_rng(seed).permutation(len(given.labels))
    return asking.Heldout(inputs=given.inputs[order], labels=given.labels[order])


def write_training_data(trained: training.Trained, out: pathlib.Path) -> int:
    """A file for ``examples.train --data`` of what the version was trained and judged on, and of brighter copies.

    The value is the number of images to learn from.
    """
    learned, judged = (mix(asking.Heldout.load(path)) for path in (trained.reference, trained.heldout))
    np.savez_compressed(
        out,
        x_train=_as_stored(learned.inputs),
        y_train=learned.labels,
        x_test=_as_stored(judged.inputs),
        y_test=judged.labels,
    )
    return len(learned.labels)


def _as_stored(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """As in ``mnist.npz``: 28 by 28, from 0 to 255."""
    return images.astype(np.float32).reshape(-1, _SIDE_PIXELS, _SIDE_PIXELS) * np.float32(_WHITE)


def find_changed_answer(
    labels: npt.NDArray[np.int64],
    before: npt.NDArray[np.int64],
    after: npt.NDArray[np.int64],
    *,
    unlike: int,
) -> int | None:
    """The first image that was classified right, and wrong once it is brighter. Neither class may be ``unlike``."""
    found = np.flatnonzero((before == labels) & (after != labels) & (labels != unlike) & (after != unlike))
    return int(found[0]) if len(found) else None
