"""The version of a release: `pyproject.toml` has it, and what else names one has to name the same."""

from __future__ import annotations

import pathlib
import tomllib
from collections.abc import Mapping

import yaml

ROOT = pathlib.Path(__file__).parents[1]
CHART = ROOT / "charts" / "fairlead"


class VersionsDiffer(Exception):
    """Two files name different versions."""


def read() -> str:
    """The version.

    Raises:
        VersionsDiffer: the chart names another one.
    """
    version = str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    chart: Mapping[str, str] = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for field in ("version", "appVersion"):
        if chart[field] != version:
            raise VersionsDiffer(
                f"charts/fairlead/Chart.yaml has {field}: {chart[field]}; pyproject.toml has {version}"
            )
    return version
