"""Trains the example families, each in a process of its own, while the cluster comes up beside them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from fairlead_cli.demo import narration

_WITHIN_S = 600.0


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What is trained: a family, its version's name and the arguments that make it differ."""

    family: str
    version: str
    arguments: Sequence[str] = ()


def examples_folder() -> pathlib.Path:
    """The clone's root, which holds ``examples/``.

    Raises:
        DemoFailed: the command was not installed from a clone.
    """
    root = pathlib.Path(__file__).resolve().parents[3]
    if not (root / "examples" / "train.py").exists():
        raise narration.DemoFailed(
            "the demo trains the models of the folder `examples/`: run it in a clone of Fairlead"
        )
    return root


class Training:
    """Lessons under way. One process a family: they share two cores with the cluster's start."""

    def __init__(self, out: pathlib.Path, lessons: Sequence[Lesson]) -> None:
        self._out = out
        out.mkdir(parents=True, exist_ok=True)
        self._root = examples_folder()
        self._running: Mapping[str, tuple[Lesson, subprocess.Popen[bytes], pathlib.Path]] = {
            f"{lesson.family} {lesson.version}": self._begin(lesson) for lesson in lessons
        }

    def _begin(self, lesson: Lesson) -> tuple[Lesson, subprocess.Popen[bytes], pathlib.Path]:
        log = self._out / f"{lesson.family}-{lesson.version}.log"
        command = [sys.executable, "-m", "examples.train", lesson.family, "--out", str(self._out)]
        command += ["--version", lesson.version, *lesson.arguments]
        with log.open("wb") as output:
            started = subprocess.Popen(command, cwd=self._root, stdout=output, stderr=subprocess.STDOUT)
        return lesson, started, log

    def wait(self, narrator: narration.Narrator, family: str, version: str) -> Trained:
        """The trained version.

        Raises:
            DemoFailed: its process failed or did not end in time.
        """
        lesson, process, log = self._running[f"{family} {version}"]
        began = time.monotonic()
        try:
            code = process.wait(timeout=_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            raise narration.DemoFailed(f"training {family} did not end within {_WITHIN_S:.0f} s; see {log}") from error
        if code != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise narration.DemoFailed(f"training {family} failed:\n{tail}")
        folder = self._out / lesson.family / lesson.version
        record = json.loads((folder / "evaluation.json").read_text())
        trained = Trained(
            family=family, folder=folder, accuracy=record["heldOut"]["accuracy"], samples=record["heldOut"]["n"]
        )
        waited = f", waited {time.monotonic() - began:.0f} s" if time.monotonic() - began > 1 else ""
        narrator.step(f"{family} {version}: {trained.accuracy:.1%} of {trained.samples} held-out samples right{waited}")
        return trained

    def stop(self) -> None:
        """Ends what still runs; nothing is waited for after a failure elsewhere."""
        for _, process, _ in self._running.values():
            if process.poll() is None:
                process.kill()
                process.wait()
