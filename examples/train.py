"""``python -m examples.train dense cnn lstm --out models``: trains, judges and stores what the manifests point to.

Each model gets a folder ``OUT/FAMILY/VERSION`` with ``saved_model/``, ``model.keras``, ``training.json``,
``manifest.yaml``, ``heldout.npz`` (inputs, labels, the outputs of the model itself, texts, the names of the classes),
``reference.npz`` (inputs and labels of up to 2,000 training samples) and, for reviews, ``vocabulary.txt``.

``--then`` begins another training, with arguments of its own, in the same process: TensorFlow is imported once.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import sys
import time
from dataclasses import dataclass

# TensorFlow reads both when it is imported; its start-up notes are not a person's business.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy

from examples import dataset, digest, families, manifest, training_record, vocabulary

HELD_OUT_KEPT = 500
REFERENCE_KEPT = 2000
THEN = "--then"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One model to be trained."""

    family: families.Family
    out: pathlib.Path
    version: str = "v1"
    optimizer: str = "adam"
    learning_rate: float | None = None
    data: str | None = None
    epochs: int | None = None
    seed: int = 0


def train(order: Order) -> training_record.TrainingRecord:
    """Trains, exports and judges one model; the folder is complete when this returns."""
    data = order.family.load(order.data or order.family.default_data)
    keras.utils.set_random_seed(order.seed)
    model = order.family.build(data)
    training = _fit(order, model, data)
    folder = order.out / order.family.name / order.version
    digests = _export(model, folder)
    _keep_held_out(model, data, folder / "heldout.npz")
    _keep_reference(data, folder / "reference.npz")
    if data.vocabulary:
        vocabulary.Vocabulary(words=data.vocabulary).save(folder / "vocabulary.txt")
    record = training_record.TrainingRecord(
        family=order.family.name,
        version=order.version,
        data=data.name,
        held_out=training_record.score(model, data.held_out_inputs, data.held_out_labels),
        held_out_parts={name: training_record.score(model, *part) for name, part in data.extra_held_out.items()},
        baselines=training_record.baselines(data),
        classes=data.classes,
        confusion=training_record.confusion(model, data),
        parameters=model.count_params(),
        training=training,
        digests=digests,
        versions=dict(training_record.versions()),
    )
    (folder / "training.json").write_text(record.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    manifest.write(
        folder / "manifest.yaml",
        model=folder / "saved_model",
        name=order.family.name,
        version=order.version,
        digest=digests["saved_model"],
    )
    return record


def _fit(order: Order, model: keras.Model, data: dataset.Dataset) -> training_record.Training:
    epochs = order.family.epochs if order.epochs is None else order.epochs
    optimizer = families.optimizer(order.optimizer, order.learning_rate)
    learning_rate = float(optimizer.learning_rate)
    model.compile(optimizer, order.family.loss, metrics=["accuracy"])
    learned, watched = divide(len(data.train_labels), order.seed)
    inputs, labels = data.vary(data.train_inputs[learned], data.train_labels[learned])
    begun = time.monotonic()
    history = model.fit(
        inputs,
        labels,
        batch_size=order.family.batch_size,
        epochs=epochs,
        validation_data=(data.train_inputs[watched], data.train_labels[watched]),
        callbacks=[
            keras.callbacks.EarlyStopping("val_loss", patience=order.family.patience_epochs, restore_best_weights=True),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: _print_epoch(order, epochs, epoch, logs)),
        ],
        verbose=0,
    )
    return training_record.Training(
        optimizer=order.optimizer,
        learning_rate=learning_rate,
        epochs_asked=epochs,
        epochs_run=len(history.epoch),
        seed=order.seed,
        train_n=len(data.train_labels),
        took_s=round(time.monotonic() - begun, 2),
    )


def divide(count: int, seed: int) -> tuple[dataset.Array, dataset.Array]:
    """Early stopping looks at a tenth of the training data; the held-out samples are for the verdict alone."""
    shuffled = numpy.random.default_rng(seed).permutation(count)
    return shuffled[count // 10 :], shuffled[: count // 10]


def _export(model: keras.Model, folder: pathlib.Path) -> dict[str, str]:
    """Both forms that a replica can load, each with the digest that a manifest may pin."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.export(folder / "saved_model", verbose=False)
    model.save(folder / "model.keras")
    return {name: digest.hash_path(folder / name) for name in ("saved_model", "model.keras")}


def _keep_held_out(model: keras.Model, data: dataset.Dataset, path: pathlib.Path) -> None:
    inputs = data.held_out_inputs[:HELD_OUT_KEPT]
    numpy.savez_compressed(
        path,
        inputs=inputs,
        labels=data.held_out_labels[:HELD_OUT_KEPT],
        outputs=training_record.predict(model, inputs),
        texts=numpy.array(data.held_out_texts[:HELD_OUT_KEPT], dtype=str),
        classes=numpy.array(data.classes, dtype=str),
    )


def _keep_reference(data: dataset.Dataset, path: pathlib.Path) -> None:
    """A part of what was learned from, for the statistics that `fairlead package` makes of it."""
    numpy.savez_compressed(path, inputs=data.train_inputs[:REFERENCE_KEPT], labels=data.train_labels[:REFERENCE_KEPT])


def _print_epoch(order: Order, epochs: int, epoch: int, logs: dict[str, float]) -> None:
    output = f"{order.family.name} {order.version}: epoch {epoch + 1}/{epochs}, loss {logs['loss']:.3f}"
    print(f"{output}, validation accuracy {logs['val_accuracy']:.3f}", flush=True)


def summary(record: training_record.TrainingRecord) -> str:
    """What a person wants to know of a finished training, in a few lines."""
    name, training = f"{record.family} {record.version}", record.training
    beside = ", ".join(f"{kind} {accuracy:.3f}" for kind, accuracy in record.baselines.items())
    lines = [
        f"{name}: held-out accuracy {record.held_out.accuracy:.3f} (n={record.held_out.n}; baselines: {beside})",
        f"{name}: {training.optimizer}, {training.epochs_run} epochs, {training.train_n} samples, {training.took_s} s",
    ]
    lines += [f"{name}: {part} {score.accuracy:.3f} (n={score.n})" for part, score in record.held_out_parts.items()]
    return "\n".join([*lines, f"{name}: {record.digests['saved_model']}"])


def main(arguments: list[str] | None = None) -> int:
    trainings = [_parser().parse_args(each) for each in split(sys.argv[1:] if arguments is None else arguments)]
    return next((code for flags in trainings if (code := _train_all(flags)) != 0), 0)


def split(arguments: list[str]) -> list[list[str]]:
    """The arguments of each training, as ``--then`` divides them."""
    parts: list[list[str]] = [[]]
    for argument in arguments:
        if argument == THEN:
            parts.append([])
        else:
            parts[-1].append(argument)
    return parts


def _train_all(flags: argparse.Namespace) -> int:
    for name in flags.family:
        # Layers get the names that they have in a process of their own.
        keras.backend.clear_session()
        order = Order(
            family=families.FAMILIES[name],
            out=flags.out,
            version=flags.version,
            optimizer=flags.optimizer,
            learning_rate=flags.learning_rate,
            data=flags.data,
            epochs=flags.epochs,
            seed=flags.seed,
        )
        try:
            record = train(order)
        except dataset.DataUnavailable as error:
            print(error, file=sys.stderr)
            return 2
        print(summary(record), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.train", description="Trains the demo's models.", epilog=__doc__
    )
    parser.add_argument("family", nargs="+", choices=sorted(families.FAMILIES))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("models"))
    parser.add_argument("--version", default="v1", help="the model's folder and spec.model.version")
    parser.add_argument("--optimizer", choices=sorted(families.OPTIMIZERS), default="adam")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--data", help="bundled, mnist or a path (digits); written, imdb or a path (reviews)")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
