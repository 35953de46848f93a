"""The tables of good and bad manifests under `tests/data/manifests`."""

from __future__ import annotations

import copy
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml

_ROOT = pathlib.Path(__file__).parents[2]
SAMPLES = [*sorted((_ROOT / "crds/samples").glob("*.yaml")), *sorted((_ROOT / "examples").glob("*.yaml"))]
_FOLDER = _ROOT / "tests/data/manifests"
_GOOD: Mapping[str, Any] = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "digits"},
    "spec": {"model": {"uri": "file:///models/digits/1"}},
}
_LONG: Mapping[str, str] = {
    "LONG-URI": "file:///" + "m" * 2041,
    "LONG-URI-MINUS-1": "file:///" + "m" * 2040,
    "LONG-254": "s" * 254,
    "LONG-EXAMPLE": '{"instances": [[' + "1," * 8200 + "1]]}",
    "LONG-64": "v" * 64,
    "HEX-64": "0123456789abcdef" * 4,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    manifest: dict[str, Any]
    namespace: str = "default"
    field: str = ""
    says: tuple[str, ...] = ()


def rows(table: str) -> list[Row]:
    """Every row of `refused` or `accepted`."""
    return [
        Row(
            id=row["id"],
            manifest=good_manifest(row.get("change", {})),
            namespace=row.get("namespace", "default"),
            field=row.get("field", ""),
            says=tuple(row.get("says", ())),
        )
        for row in yaml.safe_load((_FOLDER / f"{table}.yaml").read_text())
    ]


def good_manifest(change: Mapping[str, Any]) -> dict[str, Any]:
    """The good manifest with a change merged into it; null is a value, ABSENT takes a field away."""
    return _merged(copy.deepcopy(dict(_GOOD)), change)


def _merged(into: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in change.items():
        if value == "ABSENT":
            del into[key]
        elif isinstance(value, Mapping):
            inner = into.get(key)
            into[key] = _merged(inner if isinstance(inner, dict) else {}, value)
        else:
            into[key] = _LONG.get(value, value) if isinstance(value, str) else value
    return into
