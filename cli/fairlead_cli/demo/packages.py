"""Runs ``fairlead package`` on a trained version: an archive with all that a rollout asks for, and its manifest."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fairlead_cli.demo import narration, training

LEAST_ACCURACY = 0.9
"""The lower end of the interval that each version has to show."""
_SAMPLES = 360
_WITHIN_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """The printed manifest, the figure that was printed with it, and the archive with the names of its parts."""

    manifest: Mapping[str, Any]
    figure: str
    archive: pathlib.Path
    parts: Sequence[str]


def package(trained: training.Trained, name: str) -> Packaged:
    """The version's SavedModel with evaluation record, example, samples and reference statistics.

    Raises:
        DemoFailed: the command failed, or did not end in time.
    """
    archive = trained.folder.parent / f"{name}-{trained.folder.name}.tar.gz"
    arguments = ["package", str(trained.folder / "saved_model"), str(trained.heldout), "--name", name]
    arguments += ["--min", str(LEAST_ACCURACY), "--reference", str(trained.reference), "--samples", str(_SAMPLES)]
    command = [sys.executable, "-c", "from fairlead_cli.main import app; app()", *arguments, "--out", str(archive)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_WITHIN_S, env=environment)
    except subprocess.TimeoutExpired as error:
        raise narration.DemoFailed(f"fairlead package did not end within {_WITHIN_S:.0f} s") from error
    if done.returncode != 0:
        raise narration.DemoFailed(f"fairlead {' '.join(arguments)}: {done.stderr.strip()}")
    figure = next((line for line in done.stderr.splitlines() if line.startswith("Accuracy ")), "")
    return Packaged(manifest=yaml.safe_load(done.stdout), figure=figure, archive=archive, parts=_list_parts(archive))


def compose(packaged: Packaged, version: str, **sections: Any) -> dict[str, Any]:
    """The printed manifest with the version, and these sections of the spec; ``rollout`` adds to the printed one."""
    spec = {**packaged.manifest["spec"], **sections}
    spec["model"] = {**spec["model"], "version": version}
    spec["rollout"] = {**packaged.manifest["spec"]["rollout"], **sections.get("rollout", {})}
    return {**packaged.manifest, "spec": spec}


def _list_parts(archive: pathlib.Path) -> Sequence[str]:
    with tarfile.open(archive) as opened:
        return list(dict.fromkeys(name.partition("/")[0] for name in opened.getnames()))
