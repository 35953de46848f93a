"""The variants of spec.optimization for several models: time against the float model's, size, memory, start, accuracy.

    python -m examples.train dense cnn lstm --out models
    python -m benchmarks.variants models/dense/v1 models/cnn/v1 models/lstm/v1 [--mobilenet]

Each folder has a SavedModel `saved_model` and labelled data `heldout.npz`. The variants are made and measured by the
code of a replica, all of a model in turns in one process with one thread. MobileNetV2 has random weights and its own
answers as labels, so its accuracy says nothing and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fairlead_cli.optimization import measuring, plot, report
from fairlead_runtime.config import Optimization
from fairlead_runtime.model.evaluation_record import wilson
from fairlead_runtime.optimization.record import Variant

MOBILENET = "MobileNetV2"
SIDE, IMAGES, CLASSES = 96, 330, 10
SECONDS = 300.0
HEAD = "| model | variant | 1 row | 32 rows | size, kB | memory, MiB | start, s | accuracy (95 %) | largest change |"


def make_mobilenet(folder: Path) -> None:
    """Random weights, whose classes are about equally frequent for smooth random images."""
    import keras

    keras.utils.set_random_seed(1)
    coarse = np.random.default_rng(1).normal(size=(IMAGES, 6, 6, 3)).astype(np.float32)
    images = coarse.repeat(SIDE // 6, axis=1).repeat(SIDE // 6, axis=2)
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), weights=None, classes=CLASSES)
    last = model.layers[-1]
    weights, bias = last.get_weights()
    features = keras.Model(model.inputs, model.layers[-2].output).predict(images, verbose=0)
    # Random layers make all features alike; what differs between images is made as large as in a trained model.
    scores = (features - features.mean(axis=0)) @ weights
    scale = 3 / scores.std()
    last.set_weights([weights * scale, bias - features.mean(axis=0) @ weights * scale])
    model.export(folder / "saved_model", verbose=False)
    labels = model.predict(images, verbose=0).argmax(axis=1)
    np.savez(folder / "heldout.npz", inputs=images, labels=labels)


def measure(folder: Path) -> measuring.Found:
    """Of the SavedModel in the folder, with its data."""
    plan = measuring.Plan(
        model=folder / "saved_model",
        data=folder / "heldout.npz",
        signature=None,
        bounds=Optimization(),
        threads=1,
        seconds=SECONDS,
    )
    return measuring.measure(plan, lambda text: print(f"{folder}: {text}", file=sys.stderr))


def rows_of(name: str, found: measuring.Found) -> Iterator[str]:
    """Lines of a Markdown table: times as parts of the float model's in the same rounds."""
    base = found.table.variants[0]
    for each in found.table.variants:
        times = (
            f"{mine.best_s * 1e6:,.0f} µs" if each is base else f"{mine.best_s / float_.best_s:.2f}"
            for mine, float_ in zip(each.speeds, base.speeds, strict=True)
        )
        figures = (f"{each.size_bytes / 1e3:,.0f}", f"{each.rss_bytes / 2**20:.0f}", f"{each.start_s:.2f}")
        change = "" if each is base else f"{each.score_change:.3f}"
        yield f"| {' | '.join((name, each.name, *times, *figures, _accuracy(name, each, found), change))} |"
    for lost in found.table.unmade:
        yield f"| {name} | {lost.name} | {lost.why} {'| ' * 6}|"


def _accuracy(name: str, each: Variant, found: measuring.Found) -> str:
    if name == MOBILENET:
        return ""
    interval = wilson(each.correct, found.table.samples)
    return f"{each.correct / found.table.samples:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--mobilenet", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, help="a folder for a plot of each model but MobileNetV2")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    before = os.getloadavg()[0]
    named = [(folder.resolve().parent.name, folder) for folder in given.folders]
    with tempfile.TemporaryDirectory(prefix="fairlead-variants-") as work:
        if given.mobilenet:
            make_mobilenet(Path(work))
            named.append((MOBILENET, Path(work)))
        found = {name: measure(folder) for name, folder in named}
    print(f"{os.cpu_count()} cores, load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    print(HEAD)
    print("| --- " * (HEAD.count("|") - 1) + "|")
    for name, each in found.items():
        print(*rows_of(name, each), sep="\n")
    for name, each in found.items():
        print(f"{name}: {' '.join(report.describe(each))}")
    for name, each in found.items() if given.plots else ():
        if name != MOBILENET:
            (given.plots / f"optimization-{name}.png").write_bytes(plot.draw(each.table.variants, each.table.samples))
    if given.json:
        given.json.write_text(json.dumps({name: report.to_json(each) for name, each in found.items()}, indent=1))


if __name__ == "__main__":
    main()
