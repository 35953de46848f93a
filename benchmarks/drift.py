"""How soon drift is found, and how often a quiet day raises an alarm: simulated, with a fixed seed.

``python -m benchmarks.drift [DAYS]`` prints the tables of docs/monitoring.md. Rows are digits and reviews. They go
through the sampler and the sketches of a replica, the reference is what ``fairlead package`` computes, and the rule is
that of the chart's `rules.yaml`: a test compares the formulas here with what promtool makes of the file.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import sys
import time
import timeit
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from examples import digits_data, sentiment_corpus

from fairlead_cli.evaluation import reference_statistics as computed
from fairlead_cli.evaluation.drift_distance import MARGIN, proved, reference_error
from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime.inference import sampling, tops
from fairlead_runtime.inference.sampling import RowSampler
from fairlead_runtime.model.reference_statistics import ReferenceStatistics
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.sketches import Sketch

Array = np.ndarray[Any, Any]
SEED = 20261130
QUIET_DAYS = 200
HOUR_MIN, DAY_MIN = 60, 1440
RUNS = 20
SHARPNESS = 8.0
SIGNATURE = Signature(
    name="serving_default",
    method="tensorflow/serving/predict",
    inputs=(TensorSpec(name="image", dtype=DType.FLOAT32, shape=(None, 784)),),
    outputs=(TensorSpec(name="probabilities", dtype=DType.FLOAT32, shape=(None, 10)),),
)
TEXT_SIGNATURE = Signature(
    name="serving_default",
    method="tensorflow/serving/predict",
    inputs=(TensorSpec(name="text", dtype=DType.STRING, shape=(None,)),),
    outputs=(TensorSpec(name="positive", dtype=DType.FLOAT32, shape=(None, 1)),),
)


Predict = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class World:
    """A model, its reference statistics and the rows that requests are drawn from, each of the shape [1, …].

    Without `predict` no answers are compared.
    """

    signature: Signature
    reference: ReferenceStatistics
    rows: Array
    predict: Predict | None = None


def make_reference(signature: Signature, training: Array, answers: Counts | None = None) -> ReferenceStatistics:
    """What `fairlead package` would write for these training rows and these answers to the evaluation data."""
    vocabularies, features = computed.bin_rows(signature, (training,))
    score, predicted = computed.bin_answers(answers) if answers is not None else ([], None)
    return ReferenceStatistics(
        model_digest="sha256:" + "0" * 64,
        signature=signature.name,
        features=(*features, *score),
        predicted=predicted,
        vocabularies=vocabularies,
    )


def make_digits() -> World:
    """The bundled digits, and a model that knows the mean image of each class.

    Its answer is the softmax of the negative distances to them, with the shape [rows, 10].
    """
    digits = digits_data.load(flat=True)
    train, labels = digits.train_inputs, digits.train_labels
    centres = np.stack([train[labels == each].mean(axis=0) for each in range(10)])

    def predict(images: Array) -> Array:
        distances = np.linalg.norm(images[:, None, :] - centres, axis=2)
        scores = np.exp(-SHARPNESS * (distances - distances.min(axis=1, keepdims=True)))
        return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)

    probabilities = predict(digits.held_out_inputs)
    counts = Counts(
        kind=tops.Kind.CLASS,
        labels=digits.held_out_labels.tolist(),
        predicted=probabilities.argmax(axis=1).tolist(),
        scores=probabilities.max(axis=1).tolist(),
    )
    reference = make_reference(SIGNATURE, train, counts)
    return World(SIGNATURE, reference, digits.held_out_inputs[:, None], predict)


def make_texts() -> World:
    """The reviews that the examples learn from: three quarters are the reference, the others come as requests.

    There is no model. The examples' held-out reviews are no quiet traffic: they have words of their own on purpose.
    """
    training, requests = review_rows()
    return World(TEXT_SIGNATURE, make_reference(TEXT_SIGNATURE, training), requests[:, None])


def review_rows() -> tuple[Array, Array]:
    """The reviews of the reference, and those that come as requests."""
    texts = _texts(sentiment_corpus.build().train)
    is_request = np.arange(len(texts)) % 4 == 0
    return texts[~is_request], texts[is_request]


@functools.cache
def held_out_texts() -> Array:
    """The examples' held-out reviews."""
    return _texts(sentiment_corpus.build().held_out)


def _texts(reviews: Sequence[sentiment_corpus.Review]) -> Array:
    return np.array([review.text.encode() for review in reviews], dtype=object)


class Replica:
    """The sampler and the sketches of one replica, with a clock that is always far enough for the next row."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._now_s = 0.0
        self.sketches: tuple[Sketch, ...] = world.reference.sketches()
        reader = world.reference.reader(world.signature)
        self._sampler = RowSampler(world.signature, reader, self.sketches, clock=self._tick)

    def answer(self, row: Array) -> None:
        """One request with one row."""
        outputs = (self._world.predict(row),) if self._world.predict is not None else ()
        self._sampler.sample((row,), outputs)

    def counts(self) -> dict[str, Array]:
        return {sketch.feature: np.array(sketch.counts) for sketch in self.sketches}

    def _tick(self) -> float:
        self._now_s += 2 * sampling.SPACING_S
        return self._now_s


def references(world: World) -> dict[str, Array]:
    """Rows of the reference by bin, of each feature."""
    return {sketch.feature: np.array(sketch.reference) for sketch in world.reference.sketches()}


Change = Callable[[Array], Array]


def _misspell(rows: Array) -> Array:
    """Every sixth word or so is another one of the same length."""
    texts = [
        b" ".join(word[::-1] if zlib.crc32(word) % 6 == 0 else word for word in text.split()) for text in rows.tolist()
    ]
    return np.array(texts, dtype=object)


def _replace(rows: Array) -> Array:
    """Other reviews in place of these, in part with words that the reference lacks."""
    others = held_out_texts()
    return np.array([others[zlib.crc32(text) % len(others)] for text in rows.tolist()], dtype=object)


TEXT_CHANGES: Mapping[str, Change] = {
    "one word in six is another one": _misspell,
    "the held-out reviews": _replace,
    "twice as long": lambda rows: rows + b" " + rows,
}
CHANGES: Mapping[str, Change] = {
    "brighter by 0.1": lambda image: np.clip(image + 0.1, 0, 1),
    "brighter by 0.3": lambda image: np.clip(image + 0.3, 0, 1),
    "darker, x 0.7": lambda image: image * 0.7,
    "darker, x 0.5": lambda image: image * 0.5,
    "inverted": lambda image: 1 - image,
}


def requests_until_found(world: World, change: Change, seed: int, *, before: int, most: int = 20_000) -> dict[str, int]:
    """By feature the number of changed requests after which it alarms; `before` good ones are in the same window."""
    rng = np.random.default_rng(seed)
    replica, known = Replica(world), references(world)
    for row in rng.integers(len(world.rows), size=before):
        replica.answer(world.rows[row])
    found: dict[str, int] = {}
    for count in range(1, most + 1):
        row = world.rows[rng.integers(len(world.rows))]
        replica.answer(change(row).astype(row.dtype))
        # After each of the first hundred, then at every tenth.
        if count > 100 and count % 10:
            continue
        for feature, counts in replica.counts().items():
            if feature not in found and proved(counts[None], known[feature])[0] > MARGIN:
                found[feature] = count
        if any(name.startswith("input") for name in found) and count >= 1000:
            break
    return found


def bins_of_rows(world: World) -> dict[str, Array]:
    """By feature the bin of each row that requests are drawn from."""
    replica = Replica(world)
    found: dict[str, list[int]] = {sketch.feature: [] for sketch in replica.sketches}
    before = replica.counts()
    for row in world.rows:
        replica.answer(row)
        after = replica.counts()
        for feature, counts in after.items():
            found[feature].append(int(np.argmax(counts - before[feature])))
        before = after
    return {feature: np.array(bins) for feature, bins in found.items()}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Sampled rows a minute, by the minute of the day."""

    name: str
    rate: Callable[[Array], Array]


TRAFFIC = (
    Traffic("2 a minute", lambda minute: np.full(len(minute), 2.0)),
    Traffic("60 a minute", lambda minute: np.full(len(minute), 60.0)),
    Traffic("1 to 60 a minute, as a day goes", lambda minute: 30.5 - 29.5 * np.cos(2 * np.pi * minute / DAY_MIN)),
)


@dataclass(frozen=True, slots=True)
class Quiet:
    """What was seen of one feature over the quiet days: looks that alarm, and the highest proved distance."""

    looks: int
    alarms: int
    highest: float


def quiet_days(world: World, traffic: Traffic, days: int, seed: int = SEED) -> dict[str, Quiet]:
    """Looks at every minute, at the last hour and the last day, while requests are drawn from the held-out rows."""
    rng = np.random.default_rng(seed)
    known, bins = references(world), bins_of_rows(world)
    per_minute = rng.poisson(traffic.rate(np.arange(days * DAY_MIN) % DAY_MIN))
    minute = np.repeat(np.arange(days * DAY_MIN), per_minute)
    drawn = rng.integers(len(world.rows), size=len(minute))
    found: dict[str, Quiet] = {}
    for feature, reference in known.items():
        size = len(reference)
        flat = np.bincount(minute * size + bins[feature][drawn], minlength=days * DAY_MIN * size)
        looks = np.concatenate([proved(window, reference) for window in windows(flat.reshape(-1, size))])
        found[feature] = Quiet(len(looks), int((looks > MARGIN).sum()), float(looks.max()))
    return found


def windows(counts: Array) -> Iterator[Array]:
    """Sums over the last hour at every minute, and over the last 24 whole hours at every hour."""
    sums = np.concatenate([np.zeros((1, counts.shape[1]), counts.dtype), np.cumsum(counts, axis=0)])
    yield sums[HOUR_MIN:] - sums[:-HOUR_MIN]
    hours = sums[::HOUR_MIN]
    yield hours[24:] - hours[:-24]


def cost_us(world: World, *, is_due: bool, calls: int = 20_000) -> float:
    """Microseconds that a request with one row takes longer where its row is sampled, or where it is too early."""
    inputs = (world.rows[0],)
    outputs = (world.predict(inputs[0]),) if world.predict is not None else ()
    ticks = itertools.count(1)
    clock = (lambda: float(next(ticks))) if is_due else time.monotonic
    reader = world.reference.reader(world.signature)
    sampler = RowSampler(world.signature, reader, world.reference.sketches(), clock=clock)
    return min(timeit.repeat(lambda: sampler.sample(inputs, outputs), number=calls, repeat=7)) / calls * 1e6


def main() -> None:
    days = int(sys.argv[1]) if len(sys.argv) > 1 else QUIET_DAYS
    for name, world, changes in (("digits", make_digits(), CHANGES), ("reviews", make_texts(), TEXT_CHANGES)):
        print(f"\n## {name}\n| feature | bins | reference rows | bound of their error |\n| --- | --- | --- | --- |")
        for feature, reference in references(world).items():
            error = reference_error(int(reference.sum()), len(reference))
            print(f"| `{feature}` | {len(reference)} | {reference.sum()} | {error:.3f} |")
        sampled, other = cost_us(world, is_due=True), cost_us(world, is_due=False)
        print(f"\nA request that is sampled takes {sampled:.1f} us more, another one {other:.2f} us.")
        print_quiet_days(world, days)
        print_changes(world, changes)


def print_quiet_days(world: World, days: int) -> None:
    print(f"\n| quiet traffic, {days} days | looks | alarms | highest proved distance |\n| --- | --- | --- | --- |")
    for traffic in TRAFFIC:
        quiet = quiet_days(world, traffic, days)
        looks, alarms = (sum(getattr(each, name) for each in quiet.values()) for name in ("looks", "alarms"))
        print(f"| {traffic.name} | {looks:,} | {alarms} | {max(each.highest for each in quiet.values()):.3f} |")


def print_changes(world: World, changes: Mapping[str, Change]) -> None:
    print(f"\n| change | good rows before | found after, median of {RUNS} (least to most) |\n| --- | --- | --- |")
    for name, change in changes.items():
        for before in (0, 600):
            runs = [requests_until_found(world, change, SEED + run, before=before) for run in range(RUNS)]
            print(f"| {name} | {before} | {_describe(runs)} |")


def _describe(runs: list[dict[str, int]]) -> str:
    parts = []
    for feature in sorted({feature for run in runs for feature in run}):
        needed = [run[feature] for run in runs if feature in run]
        spread = f"{statistics.median(needed):.0f} ({min(needed)} to {max(needed)})"
        parts.append(f"`{feature}` {spread}" + (f" in {len(needed)} runs" if len(needed) < len(runs) else ""))
    return ", ".join(parts) or "not found"


if __name__ == "__main__":
    main()
