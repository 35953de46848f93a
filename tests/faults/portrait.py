"""The end of a run as a document that two runs can share: names by number, no uids, versions or times."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.faults.place import MODEL, Place

Document = dict[str, Any]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
_SESSION = re.compile(r"session_[0-9a-f]{12}")
_KEPT_METADATA = ("name", "labels", "annotations", "finalizers", "generation", "ownerReferences")


class Names:
    """Turns a run's own names into shared ones; knows every revision that was ever made in the run."""

    def __init__(self, place: Place) -> None:
        self._namespace = place.namespace
        self._words: dict[str, str] = {}

    def learn(self, model: Document | None, revisions: list[Document]) -> None:
        if model is not None:
            self._words[model["metadata"]["uid"]] = "UID"
        for item in revisions:
            self._words[item["metadata"]["name"].removeprefix(f"{MODEL}-")] = f"revision{item['revision']}"

    def shared(self, document: Any) -> Any:
        text = json.dumps(document, sort_keys=True)
        for word, name in self._words.items():
            text = text.replace(word, name)
        return json.loads(_SESSION.sub("SESSION", _TIME.sub("TIME", text.replace(self._namespace, "NS"))))


def end_of(place: Place, names: Names) -> Document:
    """Kubernetes' objects, Ray's applications and the gateway's table."""
    model, revisions = place.model(), place.revisions()
    names.learn(model, revisions)
    applications = place.ray.applications()
    document = {
        "model": {**model, "metadata": _metadata(model)} if model is not None else None,
        # A deleted model's revisions are the garbage collector's, which takes its time.
        "revisions": [{**item, "metadata": _metadata(item)} for item in revisions] if model is not None else [],
        "routes": {name: _entry(entry) for name, entry in place.routes().items()},
        "gateway": {name: _entry(entry) for name, entry in place.gateway.entries().items()},
        "ray": applications,
        "running": {name: place.ray.running(name) for name in applications},
    }
    return dict(names.shared(document))


def _metadata(body: Document) -> Document:
    return {key: body["metadata"][key] for key in _KEPT_METADATA if key in body["metadata"]}


def _entry(entry: Document) -> Document:
    """Without ``version``, a hash over this run's names."""
    return {key: value for key, value in entry.items() if key != "version"}


def differences(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two documents differ, one line each."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(set(one) | set(other))
        return [line for key in keys for line in differences(one.get(key), other.get(key), f"{where}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for number, (a, b) in pairs for line in differences(a, b, f"{where}[{number}]")]
    return [] if one == other else [f"{where.lstrip('.')}: calm {one!r}, here {other!r}"]
