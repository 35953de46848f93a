"""The models of the benchmark: the three networks of ``examples``, trained for one epoch, kept in the cache folder."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import environments

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One that was trained."""

    name: str
    folder: Path

    @property
    def saved_model(self) -> Path:
        return self.folder / "saved_model"

    @property
    def heldout(self) -> Path:
        return self.folder / "heldout.npz"


def prepare(name: str) -> Model:
    """The model of this name, trained first where there is none yet."""
    out = environments.folder() / "models"
    made = out / name / "v1"
    # The manifest is what a training writes last.
    if not (made / "manifest.yaml").exists():
        print(f"training {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "examples.train", name, "--epochs", "1", "--out", str(out)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return Model(name=name, folder=made)
