"""What guards find, how often they are wrong about quiet traffic, and what they cost: simulated, with fixed seeds.

``python -m benchmarks.guards [DAYS]`` prints the tables of docs/monitoring.md. Rows are digits and reviews, judged by a
replica's own code with the bounds that ``fairlead package`` computes. The adversarial rows are made by the fast
gradient sign method (FGSM) against a small network that is trained here. Feature squeezing is computed for comparison.
"""

from __future__ import annotations

import sys
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.datasets
import sklearn.model_selection
from benchmarks import drift
from examples import digits_data

from fairlead_cli.evaluation import guard_bounds, reference_statistics
from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime.config import GuardMode
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import guard_checks, tops
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.model.answer_kinds import AnswerKinds
from fairlead_runtime.model.evaluation_record import Outcome
from fairlead_runtime.model.reference_statistics import Found, NumberFeature, ReferenceStatistics
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

Array = np.ndarray[Any, Any]
SEED = 20261201
QUIET_DAYS = 200
HIDDEN, EPOCHS = 64, 20
TOLERATED = 0.01
EVIDENCE = 16.3
SPLITS = 20
SMALL_SETS, SMALL_HELD_OUT = (60, 150, 300, 700, 1400), 300
OF_IMAGES = (Guard.NOT_FINITE, Guard.RANGE, Guard.OUTLIER, Guard.PERTURBATION, Guard.IMPOSSIBLE_ANSWER, Guard.SCORE)
OF_TEXTS = (Guard.SIZE, Guard.OUTLIER)


def evidence(found: Array, rows: Array, tolerated: float = TOLERATED) -> Array:
    """What the alert compares with `EVIDENCE`; a proof that more than this share of the rows are found.

    Source: docs/decisions/0077.
    """
    total = np.maximum(rows, 1)
    share = np.clip(found / total, 1e-9, 1 - 1e-9)
    divergence = share * np.log(share / tolerated) + (1 - share) * np.log((1 - share) / (1 - tolerated))
    return rows * divergence - np.log(rows + 1)


def alarms(found: Array, rows: Array) -> Array:
    """Whether the alert fires, at each look."""
    return (found > TOLERATED * rows) & (evidence(found, rows) > EVIDENCE)


class Network:
    """One hidden layer, trained by Adam; small enough that its gradient is written down."""

    def __init__(self, images: Array, labels: Array) -> None:
        rng = np.random.default_rng(SEED)
        size = images.shape[1]
        self._parts = [
            rng.normal(0, np.sqrt(2 / size), (size, HIDDEN)),
            np.zeros(HIDDEN),
            rng.normal(0, np.sqrt(2 / HIDDEN), (HIDDEN, 10)),
            np.zeros(10),
        ]
        first, second = ([np.zeros_like(part) for part in self._parts] for _ in range(2))
        step = 0
        for _ in range(EPOCHS):
            for chosen in np.array_split(rng.permutation(len(images)), len(images) // 32):
                step += 1
                for i, gradient in enumerate(self._gradients(images[chosen], labels[chosen])):
                    first[i] = 0.9 * first[i] + 0.1 * gradient
                    second[i] = 0.999 * second[i] + 0.001 * gradient**2
                    speed = np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8
                    self._parts[i] = self._parts[i] - 1e-3 * (first[i] / (1 - 0.9**step)) / speed

    def predict(self, images: Array) -> Array:
        return self._forward(images)[1].astype(np.float32)

    def input_gradient(self, images: Array, labels: Array) -> Array:
        hidden, wrong = self._backward(images, labels)
        found: Array = ((wrong @ self._parts[2].T) * (hidden > 0)) @ self._parts[0].T
        return found

    def _forward(self, images: Array) -> tuple[Array, Array]:
        hidden = np.maximum(images @ self._parts[0] + self._parts[1], 0)
        scores = hidden @ self._parts[2] + self._parts[3]
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, shares / shares.sum(axis=1, keepdims=True)

    def _backward(self, images: Array, labels: Array) -> tuple[Array, Array]:
        hidden, wrong = self._forward(images)
        wrong[np.arange(len(images)), labels] -= 1
        return hidden, wrong

    def _gradients(self, images: Array, labels: Array) -> list[Array]:
        hidden, wrong = self._backward(images, labels)
        wrong /= len(images)
        beneath = (wrong @ self._parts[2].T) * (hidden > 0)
        return [images.T @ beneath, beneath.sum(axis=0), hidden.T @ wrong, wrong.sum(axis=0)]


@dataclass(frozen=True, slots=True)
class Images:
    """Digits, each a row of `side` times `side` numbers from 0 to 1."""

    side: int
    train: Array
    train_labels: Array
    held_out: Array
    labels: Array

    @property
    def signature(self) -> Signature:
        return Signature(
            name="serving_default",
            method="predict",
            inputs=(TensorSpec(name="image", dtype=DType.FLOAT32, shape=(None, self.side**2)),),
            outputs=(TensorSpec(name="probabilities", dtype=DType.FLOAT32, shape=(None, 10)),),
        )


def smooth_digits() -> Images:
    """The examples' digits: 8 by 8 pixels drawn as 28 by 28, so that neighbours are alike."""
    made = digits_data.load(flat=True)
    return Images(28, made.train_inputs, made.train_labels, made.held_out_inputs, made.held_out_labels)


def coarse_digits() -> Images:
    """The same digits with their 8 by 8 pixels."""
    digits = sklearn.datasets.load_digits()
    rows = (digits.data / 16).astype(np.float32)
    train, held_out, train_labels, labels = sklearn.model_selection.train_test_split(
        rows, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return Images(8, train, train_labels, held_out, labels)


def make_statistics(signature: Signature, training: Array, answers: Counts | None = None) -> Found:
    """What a replica finds beside a model that was packaged with these training rows."""
    order = reference_statistics.random_order(len(training))
    vocabularies, _ = reference_statistics.bin_rows(signature, [training])
    statistics = ReferenceStatistics(
        model_digest="sha256:" + "0" * 64,
        signature=signature.name,
        features=(NumberFeature(name="score", edges=(0.5,), counts=(1, 1, 0)),),
        vocabularies=vocabularies,
        guards=guard_bounds.compute(signature, [training], order, answers, vocabularies),
    )
    return Found(outcome=Outcome.READ, statistics=statistics)


def observe(signature: Signature, statistics: Found, chosen: Sequence[Guard]) -> Guards:
    """Guards of a model whose answers are distributions."""
    kinds = AnswerKinds(finite=frozenset({0}), distributions=frozenset({0}))
    return guard_checks.build(dict.fromkeys(chosen, GuardMode.OBSERVE), signature, statistics, kinds)


def make_guards(
    signature: Signature, training: Array, chosen: Sequence[Guard], answers: Counts | None = None
) -> Guards:
    """Guards with the bounds that a package with these training rows has."""
    return observe(signature, make_statistics(signature, training, answers), chosen)


def found_rows(guards: Guards, rows: Array, outputs: Array | None) -> dict[Guard, Array]:
    """By guard whether it finds something in each row, judged one row at a time as single requests."""
    found: dict[Guard, list[bool]] = {guard: [] for guard in guards.rows}
    for at in range(len(rows)):
        verdicts = guards.judge_inputs((rows[at : at + 1],))
        if outputs is not None:
            verdicts += guards.judge_answers((outputs[at : at + 1],))
        for verdict in verdicts:
            found[verdict.guard].append(bool(verdict.found.wrong))
    return {guard: np.array(each) for guard, each in found.items()}


def fgsm(network: Network, images: Images, size: float) -> Array:
    """The held-out images, each number moved by `size` where that raises the loss."""
    step = size * np.sign(network.input_gradient(images.held_out, images.labels))
    return np.clip(images.held_out + step, 0, 1).astype(np.float32)


def unlike(images: Images) -> Mapping[str, Array]:
    """Rows that are no digits, or digits as the training data has none."""
    rng, rows, side = np.random.default_rng(SEED), images.held_out, images.side
    half = rows.shape[1] // 2
    return {
        "noise": rng.random(rows.shape).astype(np.float32),
        "inverted": 1 - rows,
        "pixels in another order": rows[:, rng.permutation(rows.shape[1])],
        "on its side": np.rot90(rows.reshape(-1, side, side), axes=(1, 2)).reshape(len(rows), -1).copy(),
        "halves of two digits": np.concatenate([rows[:, :half], rng.permutation(rows)[:, half:]], axis=1),
        "brighter by 0.3": np.clip(rows + np.float32(0.3), 0, 1),
    }


def squeezed(network: Network, rows: Array) -> Array:
    """Feature squeezing: how far the answer is from that to the row with 4 bits for each number (L1)."""
    few: Array = np.round(rows * 15) / 15
    found: Array = np.abs(network.predict(rows) - network.predict(few)).sum(axis=1)
    return found


def squeezing_bound(network: Network, images: Images) -> float:
    """The largest distance of a quarter of the training rows, which decided no more than the network, and a tenth."""
    return float(squeezed(network, images.train[::4]).max()) * 1.1


def answers_of(network: Network, images: Images) -> Counts:
    shares = network.predict(images.held_out)
    return Counts(
        kind=tops.Kind.CLASS,
        labels=images.labels.tolist(),
        predicted=shares.argmax(axis=1).tolist(),
        scores=shares.max(axis=1).tolist(),
    )


def print_detection(name: str, images: Images, network: Network, guards: Guards) -> None:
    shown = (Guard.RANGE, Guard.OUTLIER, Guard.PERTURBATION, Guard.SCORE)
    bound = squeezing_bound(network, images)
    heads = " | ".join(guard.value for guard in shown)
    print(f"\n### {name}\n| rows | right answers | {heads} | any guard | feature squeezing |\n|{' --- |' * 8}")
    changed = {f"FGSM {size}": fgsm(network, images, size) for size in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2)}
    for what, rows in {"held out, as they are": images.held_out, **unlike(images), **changed}.items():
        outputs = network.predict(rows)
        found = found_rows(guards, rows, outputs)
        every = np.any(list(found.values()), axis=0).mean()
        shares = " | ".join(f"{found[guard].mean():.1%}" for guard in shown)
        right = (outputs.argmax(axis=1) == images.labels).mean()
        squeezing = (squeezed(network, rows) > bound).mean()
        print(f"| {what} | {right:.1%} | {shares} | {every:.1%} | {squeezing:.1%} |")


def print_splits(name: str, images: Images) -> None:
    """False alarms over other choices of the held-out rows; guards of inputs alone, as no network is trained again."""
    rows = np.concatenate([images.train, images.held_out])
    chosen = (Guard.RANGE, Guard.OUTLIER, Guard.PERTURBATION)
    found, judged = dict.fromkeys(chosen, 0), 0
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(rows))
        guards = make_guards(images.signature, rows[order[: len(images.train)]], chosen)
        held_out = rows[order[len(images.train) :]]
        judged += len(held_out)
        for guard, each in found_rows(guards, held_out, None).items():
            found[guard] += int(each.sum())
    listed = ", ".join(f"{guard.value} {count}" for guard, count in found.items())
    print(f"\n{name}: found in {judged:,} held-out rows of {SPLITS} random splits: {listed}.")


def print_small_sets(images: Images) -> None:
    """What guards find of rows like the training data where that is small, and what their bounds allow."""
    rows = np.concatenate([images.train, images.held_out])
    chosen = (Guard.RANGE, Guard.OUTLIER, Guard.PERTURBATION)
    heads = " | ".join(guard.value for guard in chosen)
    print(f"\n| training rows: found on average of {SPLITS} choices (most, allowed) | {heads} |\n|{' --- |' * 4}")
    for size in SMALL_SETS:
        found: dict[Guard, list[float]] = {guard: [] for guard in chosen}
        allowed: dict[Guard, float] = {}
        for seed in range(SPLITS):
            order = np.random.default_rng(seed).permutation(len(rows))
            guards = make_guards(images.signature, rows[order[:size]], chosen)
            for guard, each in found_rows(guards, rows[order[size : size + SMALL_HELD_OUT]], None).items():
                found[guard].append(float(each.mean()))
                allowed[guard] = guards.rows[guard].tolerated_share
        cells = (f"{np.mean(found[each]):.1%} ({max(found[each]):.1%}, {allowed[each]:.1%})" for each in chosen)
        print(f"| {size} | {' | '.join(cells)} |")


def print_quiet_days(name: str, found: Mapping[Guard, Array], days: int) -> None:
    rng = np.random.default_rng(SEED)
    print(f"\n| {name}, {days} quiet days | rows | looks (all guards) | rows found | alarms |\n|{' --- |' * 5}")
    for traffic in drift.TRAFFIC:
        minutes = np.arange(days * drift.DAY_MIN)
        per_minute = rng.poisson(traffic.rate(minutes % drift.DAY_MIN))
        minute = np.repeat(minutes, per_minute)
        drawn = rng.integers(len(next(iter(found.values()))), size=len(minute))
        rows = hourly(per_minute)
        wrong = {guard: each[drawn] for guard, each in found.items()}
        fired = sum(
            int(alarms(hourly(np.bincount(minute[each], minlength=len(minutes))), rows).sum())
            for each in wrong.values()
        )
        most = ", ".join(f"{guard.value} {each.sum():,}" for guard, each in wrong.items() if each.any()) or "0"
        print(f"| {traffic.name} | {len(minute):,} | {len(rows) * len(found):,} | {most} | {fired} |")


def hourly(per_minute: Array) -> Array:
    """Sums over the last hour, at each minute."""
    sums = np.concatenate([[0], np.cumsum(per_minute)])
    found: Array = sums[drift.HOUR_MIN :] - sums[: -drift.HOUR_MIN]
    return found


def rows_until_alarm(share: float, good: int) -> int | None:
    """Changed rows until the alert fires, where a guard finds this share of them; None of 100,000."""
    changed = np.arange(1, 100_001)
    fired = alarms(np.floor(changed * share), changed + good)
    return int(changed[fired.argmax()]) if fired.any() else None


def cost_us(guards: Guards, inputs: Array, outputs: Array | None) -> float:
    """Microseconds of processor time that judging a request takes, at best: other work on the machine counts little."""

    def judge() -> None:
        guards.settle(guards.judge_inputs((inputs,)))
        if outputs is not None:
            guards.settle(guards.judge_answers((outputs,)))

    count = 200
    return min(timeit.repeat(judge, number=count, repeat=40, timer=time.thread_time)) / count * 1e6


def print_costs(name: str, cases: Mapping[str, tuple[Guards, Array, Array | None]]) -> None:
    print(f"\n| {name} | 1 row | 32 rows |\n| --- | --- | --- |")
    for what, (guards, rows, outputs) in cases.items():
        costs = (cost_us(guards, rows[:n], None if outputs is None else outputs[:n]) for n in (1, 32))
        print(f"| {what} | {' | '.join(f'{each:.1f} µs' for each in costs)} |")


def print_images(name: str, images: Images, days: int, vary: Callable[[Array, Array], tuple[Array, Array]]) -> None:
    network = Network(*vary(images.train, images.train_labels))
    answers = answers_of(network, images)
    guards = make_guards(images.signature, images.train, OF_IMAGES, answers)
    print_detection(name, images, network, guards)
    print_splits(name, images)
    print_small_sets(images)
    outputs = network.predict(images.held_out)
    print_quiet_days(name, found_rows(guards, images.held_out, outputs), days)
    each = {guard.value: make_guards(images.signature, images.train, (guard,), answers) for guard in OF_IMAGES}
    made = {"all": guards, **each}
    print_costs(name, {what: (one, images.held_out, outputs) for what, one in made.items()})


def print_texts(days: int) -> None:
    training, quiet = drift.review_rows()
    guards = make_guards(drift.TEXT_SIGNATURE, training, OF_TEXTS)
    changes = {
        "as they are": quiet,
        "the examples' held-out reviews, with words of their own": drift.held_out_texts(),
        **{what: change(quiet) for what, change in drift.TEXT_CHANGES.items()},
        "every word reversed": np.array([text[::-1] for text in quiet.tolist()], dtype=object),
    }
    heads = " | ".join(guard.value for guard in OF_TEXTS)
    print(f"\n### reviews\n| rows | {heads} |\n|{' --- |' * (1 + len(OF_TEXTS))}")
    for what, rows in changes.items():
        found = found_rows(guards, rows, None)
        print(f"| {what} | {' | '.join(f'{found[guard].mean():.1%}' for guard in OF_TEXTS)} |")
    print_quiet_days("reviews", found_rows(guards, quiet, None), days)
    print_costs("reviews", {"all": (guards, quiet, None)})


def main() -> None:
    days = int(sys.argv[1]) if len(sys.argv) > 1 else QUIET_DAYS
    print_images("digits, 28 by 28", smooth_digits(), days, digits_data.move)
    print_images("digits, 8 by 8", coarse_digits(), days, lambda rows, labels: (rows, labels))
    print_texts(days)
    print(f"\n| found of the changed rows | good rows in the hour | changed rows until the alarm |\n|{' --- |' * 3}")
    for share in (1.0, 0.5, 0.1, 0.05):
        for good in (0, 600):
            print(f"| {share:.0%} | {good} | {rows_until_alarm(share, good) or 'none of 100,000'} |")


if __name__ == "__main__":
    main()
