"""The shipped dashboards, and the queries that they ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "charts" / "fairlead" / "files" / "monitoring" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
RATE_INTERVAL = "$__rate_interval"
_VARIABLES = {"$namespace": ".*", "$model": ".*"}


def load(path: Path) -> Mapping[str, Any]:
    return dict(json.loads(path.read_text()))


def queries(path: Path, *, rate_interval: str) -> Iterator[tuple[str, str]]:
    """Each query of each panel, for all namespaces and models, with the panel's title."""
    for panel in load(path)["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace(RATE_INTERVAL, rate_interval)
            for variable, value in _VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, expression
            yield panel["title"], expression


def variables(path: Path) -> Iterator[str]:
    """The metric that each variable takes its values from."""
    for variable in load(path)["templating"]["list"]:
        if variable["type"] == "query":
            yield re.sub(r"label_values\((\w+).*", r"\1", variable["query"]["query"])
