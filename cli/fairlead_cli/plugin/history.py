"""`history` and `diff`: the revisions that are kept, and how their templates differ."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import yaml

from fairlead_cli.plugin import cluster, errors, model_view
from fairlead_operator.api import names

COLUMNS = ("number", "revision", "role", "version", "quarantine", "created", "uri")


def facts(found: cluster.Cluster, model: model_view.Model) -> list[dict[str, Any]]:
    """Every kept revision, the newest first."""
    kept = sorted(_own(found, model), key=lambda each: int(each["revision"]), reverse=True)
    return [_facts(model, each) for each in kept]


def _own(found: cluster.Cluster, model: model_view.Model) -> list[Mapping[str, Any]]:
    """By owner: one of an earlier object of the same name is not ours."""

    def is_own(kept: Mapping[str, Any]) -> bool:
        return any(owner["uid"] == model.uid for owner in kept["metadata"].get("ownerReferences") or ())

    return [kept for kept in found.revisions(model.name) if is_own(kept)]


def _name(kept: Mapping[str, Any]) -> str:
    return str(kept["metadata"]["labels"][names.LABEL_REVISION])


def _facts(model: model_view.Model, kept: Mapping[str, Any]) -> dict[str, Any]:
    name, source = _name(kept), kept["data"]["template"]["model"]
    failed = next((entry for entry in model.status.quarantine if entry.revision == name), None)
    return {
        "number": kept["revision"],
        "revision": name,
        "role": _role(model, name),
        "version": source.get("version"),
        "uri": source["uri"],
        "created": kept["metadata"].get("creationTimestamp"),
        "quarantine": failed.reason if failed is not None else None,
    }


def _role(model: model_view.Model, name: str) -> str:
    status = model.status
    roles = {status.candidate_revision: "candidate", status.stable_revision: "stable"}
    return roles.get(name, "desired" if name == model.desired else "kept")


def draw(rows: list[dict[str, Any]]) -> str:
    """Columns as kubectl prints them: never wrapped."""
    cells = [[column.upper() for column in COLUMNS], *([str(row[column] or "-") for column in COLUMNS] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(COLUMNS))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def difference(found: cluster.Cluster, model: model_view.Model, one: str, other: str) -> list[str]:
    """The templates of two revisions, each named by number or hash, as a unified diff; empty when they are the same."""
    kept = _own(found, model)
    first, second = (_find_chosen(model, kept, name) for name in (one, other))
    before, after = (_text(each).splitlines() for each in (first, second))
    old, new = (f"revision {each['revision']} ({_name(each)})" for each in (first, second))
    return list(difflib.unified_diff(before, after, old, new, lineterm="", n=1000))


def find_revision(found: cluster.Cluster, model: model_view.Model, name: str) -> str:
    """The hash of a kept revision that is named by number or hash."""
    return _name(_find_chosen(model, _own(found, model), name))


def _find_chosen(model: model_view.Model, kept: list[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    for each in kept:
        if name in (str(each["revision"]), _name(each)):
            return each
    numbers = ", ".join(str(number) for number in sorted(int(each["revision"]) for each in kept))
    raise errors.PluginError(f"{model.name} has no revision {name}; kept revisions: {numbers or 'none'}.")


def _text(kept: Mapping[str, Any]) -> str:
    return yaml.safe_dump(kept["data"]["template"], sort_keys=True)
