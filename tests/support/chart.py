"""The chart, rendered by Helm itself."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
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


def render(*values: str) -> list[Mapping[str, Any]]:
    """The objects that ``helm template`` makes with these values, ``path=value`` each."""
    reporter = progress.RichReporter(rich.console.Console())
    helm = binaries.find(["helm"], binaries.Sources.from_environment(), reporter).path("helm")
    given = [f"--set={value}" for value in (*IMAGES, *values)]
    argv = [str(helm), "template", "fairlead", str(CHART), f"--namespace={SYSTEM}", *given]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(objects: list[Mapping[str, Any]], kind: str) -> dict[str, Mapping[str, Any]]:
    """By name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}
