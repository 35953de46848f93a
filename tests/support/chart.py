"""The chart, rendered by Helm itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.console
import yaml

from fairlead_cli.local import binaries, progress

CHART = Path(__file__).parents[2] / "charts" / "fairlead"
SYSTEM = "fairlead-system"
IMAGES = tuple(
    f"{part}.repository=registry.example/{part}"
    for part in ("operator.image", "servingClass.image", "servingClass.gateway.image")
)
"""What has to be given."""


def render(*values: str, strings: Sequence[str] = ()) -> list[Mapping[str, Any]]:
    """The objects that ``helm template`` makes with these values, ``path=value`` each; ``strings`` are no numbers."""
    done = _template(values, strings)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def find_refusal(*values: str, strings: Sequence[str] = ()) -> str:
    """What Helm says of values that it refuses."""
    done = _template(values, strings)
    assert done.returncode != 0, done.stdout
    return done.stderr


def render_notes(*values: str) -> str:
    """What ``helm install`` prints after an installation with these values."""
    done = _helm("install", values, (), "--dry-run=client")
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\nNOTES:\n", maxsplit=1)[1]


def _template(values: Sequence[str], strings: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return _helm("template", values, strings)


def _helm(
    command: str, values: Sequence[str], strings: Sequence[str], *options: str
) -> subprocess.CompletedProcess[str]:
    reporter = progress.RichReporter(rich.console.Console())
    helm = binaries.find(["helm"], binaries.Sources.from_environment(), reporter).path("helm")
    given = [*(f"--set={value}" for value in (*IMAGES, *values)), *(f"--set-string={value}" for value in strings)]
    argv = [str(helm), command, "fairlead", str(CHART), f"--namespace={SYSTEM}", *given, *options]
    # A kubeconfig of the machine is none of ours.
    environment = {**os.environ, "KUBECONFIG": os.devnull}
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=environment)


def of_kind(objects: list[Mapping[str, Any]], kind: str) -> dict[str, Mapping[str, Any]]:
    """By name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}
