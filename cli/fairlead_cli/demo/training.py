"""Trains the example families beside the cluster that comes up, one process for those that share their data."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence

from fairlead_cli.demo import narration

_WITHIN_S = 600.0
_POLL_S = 0.2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained version of a family: where its manifest lies and what was measured on held-out samples."""

    family: str
    folder: pathlib.Path
    accuracy: float
    samples: int

    @property
    def manifest(self) -> pathlib.Path:
        return self.folder / "manifest.yaml"

    @property
    def heldout(self) -> pathlib.Path:
        return self.folder / "heldout.npz"

    @property
    def reference(self) -> pathlib.Path:
        """The training data that the reference statistics are of."""
        return self.folder / "reference.npz"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is trained alike: families, their version's name and the arguments that make it differ."""

    families: Sequence[str]
    version: str
    arguments: Sequence[str] = ()


def examples_folder() -> pathlib.Path:
    """The clone's root, which holds ``examples/``.

    Raises:
        DemoFailed: the command was not installed from a clone.
    """
    root = pathlib.Path(__file__).resolve().parents[3]
    if not (root / "examples" / "train.py").exists():
        raise narration.DemoFailed("the demo needs the folder `examples/`: run it in a clone of Fairlead")
    return root


class Training:
    """Lessons under way; a family is there as soon as its record is."""

    def __init__(self, out: pathlib.Path, processes: Sequence[Sequence[Lesson]]) -> None:
        """Start a process for each list of lessons, which trains them in order: to import TensorFlow takes seconds."""
        self._out = out
        out.mkdir(parents=True, exist_ok=True)
        self._root = examples_folder()
        self._running: dict[tuple[str, str], tuple[subprocess.Popen[bytes], pathlib.Path]] = {}
        for lessons in processes:
            self._begin(lessons)

    def _begin(self, lessons: Sequence[Lesson]) -> None:
        models = [(family, lesson.version) for lesson in lessons for family in lesson.families]
        log = self._out / f"{'-'.join(dict.fromkeys(family for family, _ in models))}.log"
        command = [sys.executable, "-m", "examples.train"]
        for lesson in lessons:
            command += [*lesson.families, "--out", str(self._out), "--version", lesson.version, *lesson.arguments]
            command += ["--then"] if lesson is not lessons[-1] else []
        with log.open("wb") as output:
            started = subprocess.Popen(command, cwd=self._root, stdout=output, stderr=subprocess.STDOUT)
        self._running.update(dict.fromkeys(models, (started, log)))

    def wait(self, narrator: narration.Narrator, family: str, version: str) -> Trained:
        """The trained version.

        Raises:
            DemoFailed: its process failed or did not end in time.
        """
        process, log = self._running[family, version]
        folder = self._out / family / version
        deadline = time.monotonic() + _WITHIN_S
        # The manifest is written last.
        manifest = folder / "manifest.yaml"
        while not (manifest.exists() and manifest.stat().st_size):
            code = process.poll()
            if code is not None and not manifest.exists():
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise narration.DemoFailed(f"training {family} ended with {code}:\n{tail}")
            if time.monotonic() > deadline:
                raise narration.DemoFailed(f"training {family} did not end within {_WITHIN_S:.0f} s; see {log}")
            time.sleep(_POLL_S)
        record = json.loads((folder / "training.json").read_text())
        trained = Trained(
            family=family, folder=folder, accuracy=record["heldOut"]["accuracy"], samples=record["heldOut"]["n"]
        )
        narrator.step(f"{family} {version}: {trained.accuracy:.1%} of {trained.samples} held-out samples right")
        return trained

    def stop(self) -> None:
        """Ends what still runs; nothing is waited for after a failure elsewhere."""
        for process, _ in self._running.values():
            if process.poll() is None:
                process.kill()
                process.wait()
