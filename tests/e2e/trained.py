"""Trained versions of the dense digits model, as the example trains them, with few epochs.

``python -m tests.e2e.trained OUT`` makes ``OUT/dense/v1``, ``v2`` and ``worse`` in one process: importing TensorFlow
costs more than the training. ``worse`` is ``v1``, but wrong ten points more often.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
_EPOCHS = 4
WORSE_BY = 0.10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version's files and what its manifest says of them."""

    name: str
    folder: pathlib.Path

    @property
    def uri(self) -> str:
        return (self.folder / "saved_model").as_uri()

    @property
    def digest(self) -> str:
        return str(json.loads((self.folder / "training.json").read_text())["digests"]["saved_model"])

    @property
    def accuracy(self) -> float:
        """Over the held-out samples that are kept."""
        with np.load(self.folder / "heldout.npz", allow_pickle=False) as kept:
            return float((kept["outputs"].argmax(axis=1) == kept["labels"]).mean())

    def outputs(self, rows: int) -> list[list[float]]:
        """What the model itself says to the first held-out samples."""
        with np.load(self.folder / "heldout.npz", allow_pickle=False) as kept:
            return [[float(value) for value in row] for row in kept["outputs"][:rows]]


class Models:
    """The training, begun and waited for."""

    def __init__(self, out: pathlib.Path) -> None:
        self._out = out
        out.mkdir(parents=True, exist_ok=True)
        self._log = (out / f"training-{os.getpid()}.log").open("w+b")
        command = [sys.executable, "-m", "tests.e2e.trained", str(out)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._log, stderr=subprocess.STDOUT)

    @property
    def folder(self) -> pathlib.Path:
        return self._out

    def wait(self) -> None:
        """Return once both are trained."""
        code = self._process.wait(timeout=900)
        self._log.seek(0)
        assert code == 0, self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """End the training where nobody waits for it any more."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def version(self, name: str) -> Version:
        return Version(name=name, folder=self._out / "dense" / name)

    def inputs(self, rows: int) -> list[list[float]]:
        """The first held-out samples, the same for both versions."""
        with np.load(self._out / "dense" / "v1" / "heldout.npz", allow_pickle=False) as kept:
            return [[float(value) for value in row] for row in kept["inputs"][:rows]]

    def labelled(self) -> list[tuple[list[float], int]]:
        """The held-out samples with their true labels, the same for all versions."""
        with np.load(self._out / "dense" / "v1" / "heldout.npz", allow_pickle=False) as kept:
            rows = zip(kept["inputs"], kept["labels"], strict=True)
            return [([float(value) for value in row], int(label)) for row, label in rows]


def main(out: pathlib.Path) -> None:
    """Trains, unless another process has; of several that are started at once, one trains and the others wait."""
    with (out / "training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "dense" / "worse" / "training.json").exists():
            _train(out)


def _train(out: pathlib.Path) -> None:
    from examples import families, train  # imports TensorFlow: for the process that trains

    dense = families.FAMILIES["dense"]
    train.train(train.Order(family=dense, out=out, version="v1", epochs=_EPOCHS))
    train.train(train.Order(family=dense, out=out, version="v2", epochs=_EPOCHS, optimizer="rmsprop", seed=7))
    _make_worse(out / "dense" / "v1", out / "dense" / "worse")


def _make_worse(good: pathlib.Path, folder: pathlib.Path) -> None:
    """The model with as much noise in its last weights as makes it wrong ten points more often than it was."""
    import keras
    from examples import digest

    with np.load(good / "heldout.npz", allow_pickle=False) as kept:
        inputs, labels = kept["inputs"], kept["labels"]
    model = keras.models.load_model(good / "model.keras")
    kernel, bias = model.layers[-1].get_weights()
    noise = np.random.default_rng(1).normal(size=kernel.shape).astype(kernel.dtype)
    sought = (model.predict(inputs, verbose=0).argmax(axis=1) == labels).mean() - WORSE_BY
    outputs = np.empty(0)
    for scale in np.arange(0.0, 5.0, 0.02):
        model.layers[-1].set_weights([kernel + scale * noise, bias])
        outputs = model.predict(inputs, verbose=0)
        if (outputs.argmax(axis=1) == labels).mean() <= sought:
            break
    folder.mkdir(parents=True, exist_ok=True)
    model.export(folder / "saved_model", verbose=False)
    np.savez_compressed(folder / "heldout.npz", inputs=inputs, labels=labels, outputs=outputs)
    made = {"digests": {"saved_model": digest.hash_path(folder / "saved_model")}}
    (folder / "training.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
