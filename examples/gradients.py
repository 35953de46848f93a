"""``python -m examples.gradients``: how far back in a text the gradient of a network's output reaches.

Simple RNNs, LSTM, GRU and attention learn to recall the signal at the beginning of a sequence. Before and after that,
the norm of the gradient of the output with respect to the input of each time step is measured. Writes
``OUT/gradients.json`` and ``OUT/gradients.png``.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# TensorFlow reads both when it is imported; its start-up notes are not a person's business.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy
import tensorflow

from examples import dataset, training_record
from fairlead_cli import charts

SYMBOLS, WIDTH, UNITS = 8, 16, 32
BATCH_ROWS = 64
JUDGED_ROWS = 512
LEAST = 1e-8
"""Where the axis of the picture begins."""

TITLES = {
    "smallRnn": "simple RNN, small weights",
    "orthogonalRnn": "simple RNN, orthogonal",
    "lstm": "LSTM",
    "gru": "GRU",
    "attention": "attention",
}
SMALL = 0.05
"""The bound of the recurrent weights of the simple RNN with small ones; orthogonal weights are Keras' default."""


class Network(training_record.Record):
    """``before`` and ``after`` the training: the norm by time step, the mean over the sequences."""

    name: str
    parameters: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    recall: training_record.Score


class Comparison(training_record.Record):
    """Stored as ``gradients.json``."""

    schema_version: int = 1
    steps: int
    batches: int
    learning_rate: float
    seed: int
    networks: tuple[Network, ...]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    steps: int = 40
    batches: int = 150
    learning_rate: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Built:
    """The whole network, and its parts: symbols to vectors, vectors to the output."""

    whole: keras.Model
    embedding: keras.layers.Embedding
    rest: keras.Model


def compare(plan: Plan) -> Comparison:
    networks = []
    for name in TITLES:
        found = _measure(plan, name)
        networks.append(found)
        reach = f"{found.before[0] / max(found.before):.1e} before, {found.after[0] / max(found.after):.1e} after"
        print(f"{TITLES[name]}: recalls {found.recall.accuracy:.3f}; gradient at the first step: {reach}", flush=True)
    return Comparison(
        steps=plan.steps,
        batches=plan.batches,
        learning_rate=plan.learning_rate,
        seed=plan.seed,
        networks=tuple(networks),
        versions=dict(training_record.versions()),
    )


def sequences(plan: Plan, rows: int, *, seed: int) -> tuple[dataset.Array, dataset.Array]:
    """One of two signals, which is the label, and then other symbols by chance."""
    chance = numpy.random.default_rng(seed)
    symbols = chance.integers(2, SYMBOLS, (rows, plan.steps)).astype("int32")
    symbols[:, 0] = chance.integers(0, 2, rows)
    return symbols, symbols[:, 0].copy()


def build(name: str, steps: int) -> _Built:
    vectors = keras.Input((steps, WIDTH))
    small = keras.initializers.RandomUniform(-SMALL, SMALL)
    layers: Mapping[str, Callable[[], keras.layers.Layer]] = {
        "smallRnn": lambda: keras.layers.SimpleRNN(UNITS, recurrent_initializer=small),
        "orthogonalRnn": lambda: keras.layers.SimpleRNN(UNITS),
        "lstm": lambda: keras.layers.LSTM(UNITS),
        "gru": lambda: keras.layers.GRU(UNITS),
    }
    last = layers[name]()(vectors) if name in layers else _attend(vectors, steps)
    rest = keras.Model(vectors, keras.layers.Dense(1)(last))
    symbols = keras.Input((steps,), dtype="int32")
    embedding = keras.layers.Embedding(SYMBOLS, WIDTH)
    return _Built(whole=keras.Model(symbols, rest(embedding(symbols))), embedding=embedding, rest=rest)


def _attend(vectors: keras.KerasTensor, steps: int) -> keras.KerasTensor:
    """What the last step gathers from all steps."""
    positions = keras.ops.cumsum(keras.ops.ones_like(vectors[:, :, 0], dtype="int32"), axis=1) - 1
    placed = keras.layers.Add()([vectors, keras.layers.Embedding(steps, WIDTH)(positions)])
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=WIDTH // 2)
    return attention(placed[:, -1:], placed)[:, 0]


def _measure(plan: Plan, name: str) -> Network:
    keras.backend.clear_session()
    keras.utils.set_random_seed(plan.seed)
    built = build(name, plan.steps)
    symbols, labels = sequences(plan, JUDGED_ROWS, seed=plan.seed + 1)
    before = norms(built, symbols)
    # Large gradients are cut, so that only the small ones are a difference between the networks.
    optimizer = keras.optimizers.Adam(plan.learning_rate, clipnorm=1.0)
    built.whole.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    # Each sequence is learned from once.
    learned = sequences(plan, BATCH_ROWS * plan.batches, seed=plan.seed + 2)
    built.whole.fit(*learned, batch_size=BATCH_ROWS, epochs=1, verbose=0)
    outputs = training_record.predict(built.whole, symbols)[:, 0]
    right = (outputs > 0) == (labels == 1)
    return Network(
        name=name,
        parameters=built.whole.count_params(),
        before=before,
        after=norms(built, symbols),
        recall=training_record.Score(accuracy=float(right.mean()), n=len(labels)),
    )


def norms(built: _Built, symbols: dataset.Array) -> tuple[float, ...]:
    """By time step, the Euclidean norm of the output's gradient with respect to the vector of the step.

    The output is one number, so the norm says how much a small change of this step can change it.
    """
    vectors = built.embedding(symbols)
    with tensorflow.GradientTape() as tape:
        tape.watch(vectors)
        # A sequence's output depends on its own vectors alone: the gradient of the sum has that of each output.
        total = tensorflow.reduce_sum(built.rest(vectors))
    gradient = tape.gradient(total, vectors).numpy()
    return tuple(float(value) for value in numpy.linalg.norm(gradient, axis=2).mean(axis=0))


def draw(found: Comparison) -> bytes:
    """Before and after, each curve as a part of its own largest value, and a table."""
    question = f"After step {found.steps} the output is to say which of two signals stood at step 1."
    figure = charts.new_figure(
        900,
        560,
        "How far back does the gradient reach?",
        f"{question} How much does each step change the output?",
    )
    for left, title, part in ((80, "Before training", "before"), (530, "After training", "after")):
        axes = charts.add_axes(figure, left, 105, left + 350, 350)
        axes.set_title(title, loc="left", size=9, weight="bold")
        axes.set_xlabel("time step of the input", color=charts.GREY, size=8)
        axes.set_ylabel("norm of the gradient, relative to the largest", color=charts.GREY, size=8)
        axes.set_yscale("log")
        for each, colour in zip(found.networks, charts.COLOURS, strict=False):
            axes.plot(range(1, found.steps + 1), _relative(getattr(each, part)), color=colour)
        axes.set_ylim(LEAST, 1.5)
    charts.add_table(figure, 50, 415, 850, _rows(found), charts.COLOURS)
    return charts.encode(figure)


def _relative(values: tuple[float, ...]) -> list[float]:
    most = max(values)
    return [value / most for value in values]


def _rows(found: Comparison) -> list[list[str]]:
    head = ["network", "parameters", "step 1, before", "step 1, after", "recalls step 1", "by chance"]
    rows = [
        [
            TITLES[each.name],
            f"{each.parameters:,}",
            _share(each.before),
            _share(each.after),
            f"{each.recall.accuracy:.1%}",
            "50%",
        ]
        for each in found.networks
    ]
    return [head, *rows]


def _share(norms: tuple[float, ...]) -> str:
    """Of the first step, in the largest."""
    found = norms[0] / max(norms)
    return f"{found:.1g}" if found >= LEAST / 10 else f"below {LEAST / 10:.0g}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.gradients", description=__doc__)
    usual = Plan()
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/training"))
    parser.add_argument("--steps", type=int, default=usual.steps, help="the length of a sequence")
    parser.add_argument("--batches", type=int, default=usual.batches, help="how long each network learns")
    parser.add_argument("--learning-rate", type=float, default=usual.learning_rate)
    parser.add_argument("--seed", type=int, default=usual.seed)
    flags = parser.parse_args(arguments)
    found = compare(Plan(steps=flags.steps, batches=flags.batches, learning_rate=flags.learning_rate, seed=flags.seed))
    flags.out.mkdir(parents=True, exist_ok=True)
    path = flags.out / "gradients.json"
    path.write_text(found.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".png").write_bytes(draw(found))
    print(f"Written: {path} and {path.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
