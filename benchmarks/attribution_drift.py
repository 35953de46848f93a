"""How soon a drift of attributions is found, and how often a quiet day raises an alarm: simulated, with a fixed seed.

``python -m benchmarks.attribution_drift [DAYS]`` prints the tables of docs/monitoring.md. TensorFlow calls the models,
rows are explained by the replica's own code, the reference is what ``fairlead package`` computes, and the rule is that
of the chart's `rules.yaml`, as in `benchmarks/drift.py`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from benchmarks import drift
from examples import digits_data

from fairlead_cli.evaluation import attributions
from fairlead_cli.evaluation.drift_distance import MARGIN, proved, reference_error
from fairlead_cli.evaluation.reference_statistics import EXPLAINED_ROWS
from fairlead_runtime.model import loader
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.explaining.shares import ShareReader
from fairlead_runtime.model.predictor import LoadedModel

Array = np.ndarray[Any, Any]

ROWS = 2000
"""Rows that requests are drawn from."""
RUNS = 20


@dataclass(frozen=True, slots=True)
class World:
    """A model that TensorFlow calls, its reference attributions, and the shares of rows that requests are drawn from.

    `changed` has the shares of as many rows of each change.
    """

    reference: Array
    shares: Array
    changed: Mapping[str, Array]
    explained_s: float
    """How long one explanation takes."""


class Switched(tf.Module):
    """A score that column 2 decides where the columns 0 and 1 have the same sign, and else column 3."""

    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float32, "x")])
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        is_first = tf.sigmoid(20.0 * x[:, 0] * x[:, 1])
        logit = 3.0 * (is_first * x[:, 2] + (1.0 - is_first) * x[:, 3]) + 0.3 * x[:, 4]
        return {"score": tf.sigmoid(logit)[:, None]}


class Centres(tf.Module):
    """Gives each digit the softmax of its negative distances to the mean image of each class."""

    def __init__(self, centres: Array) -> None:
        super().__init__()
        self.centres = tf.constant(centres.reshape(1, len(centres), -1), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, 28, 28], tf.float32, "image")])
    def call(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        flat = tf.reshape(image, [-1, 1, 784])
        return {"probabilities": tf.nn.softmax(-drift.SHARPNESS * tf.norm(flat - self.centres, axis=2))}


def load(module: Switched | Centres) -> LoadedModel:
    """The model as a replica loads it."""
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.call})
        return loader.load(Path(folder), None, None, Bounds(bytes_max=100_000_000), threads=1)


def make_table(rows: int = ROWS) -> World:
    """Columns 0 and 1 have the same sign in 85 % of the rows; in the changed ones in 15 %.

    Each column by itself is distributed alike in both, so no feature of the inputs shows the change.
    """
    rng = np.random.default_rng(drift.SEED)
    training = draw(rng, 5000, 0.85)
    changes = {
        "columns 0 and 1 mostly differ in their sign": draw(rng, rows, 0.15),
        "half of that": draw(rng, rows, 0.5),
    }
    return make_world(load(Switched()), training, draw(rng, EXPLAINED_ROWS, 0.85), draw(rng, rows, 0.85), changes)


def draw(rng: np.random.Generator, count: int, equal: float) -> Array:
    """Rows of five columns; the columns 0 and 1 have the same sign in this share of them."""
    table = rng.normal(size=(count, 5)).astype(np.float32)
    sign = np.where(rng.random(count) < equal, 1, -1)
    table[:, 1] = np.abs(table[:, 1]) * np.sign(table[:, 0]) * sign
    return table


def make_digits() -> World:
    """The bundled digits: half of the held-out ones are the evaluation data, and the others come as requests."""
    digits = digits_data.load(flat=True)
    train, labels = digits.train_inputs, digits.train_labels
    centres = np.stack([train[labels == each].mean(axis=0) for each in range(10)])
    held_out = digits.held_out_inputs.reshape(-1, 28, 28)
    requests = held_out[1::2]
    left_dark = requests.copy()
    left_dark[:, :, :14] = 0
    changes = {"inverted": 1 - requests, "brighter by 0.3": np.clip(requests + 0.3, 0, 1), "left half black": left_dark}
    return make_world(load(Centres(centres)), train.reshape(-1, 28, 28), held_out[::2], requests, changes)


def make_world(
    model: LoadedModel, training: Array, evaluation: Array, requests: Array, changes: Mapping[str, Array]
) -> World:
    reference = attributions.compute(model, training, evaluation, range(len(evaluation)))
    if reference is None:
        raise RuntimeError("the model has no attributions")
    reader = ShareReader(model, 0, reference.baselines, shares_calls=True)

    def explain(rows: Array) -> Array:
        return np.stack([reader.read(rows[i : i + 1], lambda: True) for i in range(len(rows))])

    begun_s = time.perf_counter()
    shares = explain(requests)
    spent_s = (time.perf_counter() - begun_s) / len(requests)
    changed = {name: explain(rows.astype(np.float32)) for name, rows in changes.items()}
    return World(np.array(reference.shares), shares, changed, spent_s)


def rows_until_found(world: World, change: str, seed: int, *, before: int, most: int = 20_000) -> int | None:
    """After how many changed rows an alarm is raised; `before` good ones are in the same window."""
    rng = np.random.default_rng(seed)
    good = world.shares[rng.integers(len(world.shares), size=before)].sum(axis=0)
    changed = world.changed[change]
    counts = good + np.cumsum(changed[rng.integers(len(changed), size=most)], axis=0)
    found = np.flatnonzero(proved(counts, world.reference) > MARGIN)
    return int(found[0]) + 1 if len(found) else None


def quiet_days(world: World, traffic: drift.Traffic, days: int, seed: int = drift.SEED) -> drift.Quiet:
    """Looks at every minute, at the last hour and the last day, while rows are drawn from those of quiet traffic."""
    rng = np.random.default_rng(seed)
    per_minute = rng.poisson(traffic.rate(np.arange(days * drift.DAY_MIN) % drift.DAY_MIN))
    minute = np.repeat(np.arange(days * drift.DAY_MIN), per_minute)
    drawn = rng.integers(len(world.shares), size=len(minute))
    sums = [np.bincount(minute, part[drawn], minlength=days * drift.DAY_MIN) for part in world.shares.T]
    looks = np.concatenate([proved(window, world.reference) for window in drift.windows(np.stack(sums, axis=1))])
    return drift.Quiet(len(looks), int((looks > MARGIN).sum()), float(looks.max()))


WORLDS: Mapping[str, Callable[[], World]] = {"table": make_table, "digits": make_digits}


def main() -> None:
    days = int(sys.argv[1]) if len(sys.argv) > 1 else drift.QUIET_DAYS
    for name, make in WORLDS.items():
        world = make()
        rows, parts = round(float(world.reference.sum())), len(world.reference)
        print(f"\n## {name}: {parts} bins, {rows} reference rows, their error {reference_error(rows, parts):.3f}")
        print(f"One explanation takes {world.explained_s * 1e3:.2f} ms.")
        print(f"\n| quiet traffic, {days} days | looks | alarms | highest proved distance |\n| --- | --- | --- | --- |")
        for traffic in drift.TRAFFIC:
            quiet = quiet_days(world, traffic, days)
            print(f"| {traffic.name} | {quiet.looks:,} | {quiet.alarms} | {quiet.highest:.3f} |")
        print(f"\n| change | good rows before | found after, median of {RUNS} (least to most) |\n| --- | --- | --- |")
        for change in world.changed:
            for before in (0, 600):
                found = [rows_until_found(world, change, drift.SEED + run, before=before) for run in range(RUNS)]
                needed = [each for each in found if each is not None]
                shown = (
                    f"{statistics.median(needed):.0f} ({min(needed)} to {max(needed)}) in {len(needed)} runs"
                    if needed
                    else "not found"
                )
                print(f"| {change} | {before} | {shown} |")


if __name__ == "__main__":
    main()
