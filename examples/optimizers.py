"""``python -m examples.optimizers dense``: five optimizers on the same network, data and first weights.

Writes ``OUT/optimizers-FAMILY.json`` with every figure and ``OUT/optimizers-FAMILY.png`` with the curves and a table.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

# TensorFlow reads both when it is imported; its start-up notes are not a person's business.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras

from examples import dataset, families, train, training_record
from fairlead_cli import charts

SEEDS = (0, 1)
TITLES = {"sgd": "SGD", "momentum": "momentum", "adagrad": "AdaGrad", "rmsprop": "RMSprop", "adam": "Adam"}
HIGH = 0.95
"""The table says after how many epochs the validation accuracy reaches it."""


class Run(training_record.Record):
    """One training: the curves have a value for each epoch; the first of ``losses`` is from before the training."""

    seed: int
    losses: tuple[float, ...]
    validation_accuracies: tuple[float, ...]
    held_out: training_record.Score


class Optimizer(training_record.Record):
    name: str
    learning_rate: float
    runs: tuple[Run, ...]


class Comparison(training_record.Record):
    """Stored as ``optimizers-FAMILY.json``. No times: they are of the machine, not of the optimizer."""

    schema_version: int = 1
    family: str
    data: str
    train_n: int
    epochs: int
    batch_size: int
    optimizers: tuple[Optimizer, ...]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    family: families.Family
    epochs: int
    seeds: Sequence[int] = SEEDS


def compare(plan: Plan) -> Comparison:
    """With each seed, every optimizer begins with the same weights and sees the same batches in the same order."""
    data = plan.family.load(plan.family.default_data)
    found = []
    for name in families.OPTIMIZERS:
        runs = [_train(plan, data, name, seed) for seed in plan.seeds]
        rate = float(families.optimizer(name).learning_rate)
        found.append(Optimizer(name=name, learning_rate=round(rate, 9), runs=tuple(runs)))
        accuracies = ", ".join(f"{run.held_out.accuracy:.3f}" for run in runs)
        print(f"{plan.family.name}, {TITLES[name]}: held-out accuracy {accuracies}", flush=True)
    return Comparison(
        family=plan.family.name,
        data=data.name,
        train_n=len(data.train_labels),
        epochs=plan.epochs,
        batch_size=plan.family.batch_size,
        optimizers=tuple(found),
        versions=dict(training_record.versions()),
    )


def _train(plan: Plan, data: dataset.Dataset, optimizer: str, seed: int) -> Run:
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    model = plan.family.build(data)
    model.compile(families.optimizer(optimizer), plan.family.loss, metrics=["accuracy"])
    learned, watched = train.divide(len(data.train_labels), seed)
    inputs, labels = data.vary(data.train_inputs[learned], data.train_labels[learned])
    before = float(model.evaluate(inputs, labels, batch_size=training_record.BATCH_ROWS, verbose=0)[0])
    history = model.fit(
        inputs,
        labels,
        batch_size=plan.family.batch_size,
        epochs=plan.epochs,
        validation_data=(data.train_inputs[watched], data.train_labels[watched]),
        verbose=0,
    ).history
    return Run(
        seed=seed,
        losses=(before, *map(float, history["loss"])),
        validation_accuracies=tuple(map(float, history["val_accuracy"])),
        held_out=training_record.score(model, data.held_out_inputs, data.held_out_labels),
    )


def draw(found: Comparison) -> bytes:
    """Two panels of curves, which are means over the seeds, and the table, whose names have the curves' colours."""
    seeds = len(found.optimizers[0].runs)
    samples = f"{found.train_n} samples, batches of {found.batch_size}"
    figure = charts.new_figure(
        900,
        520,
        f"Five optimizers on {found.family}: {found.data}",
        f"{samples}; the mean over {seeds} seeds, at each of them all begin with the same weights",
    )
    loss, accuracy = charts.add_axes(figure, 80, 100, 430, 320), charts.add_axes(figure, 530, 100, 880, 320)
    loss.set_title("How fast it learns", loc="left", size=9, weight="bold")
    loss.set_ylabel("loss on the training data, logarithmic", color=charts.GREY, size=8)
    loss.set_yscale("log")
    charts.mark_one_two_five(loss.yaxis)
    accuracy.set_title("How well it does while it learns", loc="left", size=9, weight="bold")
    accuracy.set_ylabel("accuracy on a tenth of the training data", color=charts.GREY, size=8)
    for each, colour in zip(found.optimizers, charts.COLOURS, strict=False):
        accuracies = _mean([run.validation_accuracies for run in each.runs])
        loss.plot(range(found.epochs + 1), _mean([run.losses for run in each.runs]), color=colour)
        accuracy.plot(range(1, found.epochs + 1), accuracies, color=colour, marker="." if found.epochs == 1 else "")
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch", color=charts.GREY, size=8)
        axes.set_xlim(0, found.epochs)
    charts.add_table(figure, 50, 385, 850, _rows(found), charts.COLOURS)
    return charts.encode(figure)


def _rows(found: Comparison) -> list[list[str]]:
    head = ["optimizer", "learning rate", "held-out accuracy", "least to most", f"epochs to {HIGH:g}", "last loss"]
    return [head, *(_row(each) for each in found.optimizers)]


def _row(each: Optimizer) -> list[str]:
    accuracies = [run.held_out.accuracy for run in each.runs]
    line = _mean([run.validation_accuracies for run in each.runs])
    reached = next((f"{epoch}" for epoch, value in enumerate(line, 1) if value >= HIGH), "not reached")
    return [
        TITLES[each.name],
        f"{each.learning_rate:g}",
        f"{statistics.mean(accuracies):.3f}",
        f"{min(accuracies):.3f} to {max(accuracies):.3f}",
        reached,
        f"{statistics.mean(run.losses[-1] for run in each.runs):.3f}",
    ]


def _mean(lines: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.mean(values) for values in zip(*lines, strict=True)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.optimizers", description=__doc__)
    parser.add_argument("family", nargs="+", choices=sorted(families.FAMILIES))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/training"))
    parser.add_argument("--epochs", type=int, help="by default as many as the family is trained for")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    flags = parser.parse_args(arguments)
    flags.out.mkdir(parents=True, exist_ok=True)
    for name in flags.family:
        family = families.FAMILIES[name]
        found = compare(Plan(family=family, epochs=flags.epochs or family.epochs, seeds=flags.seeds))
        path = flags.out / f"optimizers-{name}.json"
        path.write_text(found.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
        path.with_suffix(".png").write_bytes(draw(found))
        print(f"Written: {path} and {path.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
