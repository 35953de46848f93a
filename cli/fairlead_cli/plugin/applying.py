"""What `kubectl apply` would store: its three-way merge of the manifest, the live object and what was applied last.

Source: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/, "How apply calculates
differences and merges changes". A custom resource is merged by RFC 7396, so a list is replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairlead_cli.plugin import errors

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def last_applied_spec(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The ``spec`` of the last `kubectl apply`; None where the object was never applied so.

    Raises:
        errors.PluginError: the annotation can't be read; kubectl refuses it too.
    """
    kept = (body["metadata"].get("annotations") or {}).get(ANNOTATION)
    if kept is None:
        return None
    try:
        spec = json.loads(kept).get("spec")
    except (ValueError, AttributeError) as error:
        raise errors.PluginError(f"The annotation {ANNOTATION} of {body['metadata']['name']} is not JSON.") from error
    return spec if isinstance(spec, Mapping) else {}


def merge(live: Mapping[str, Any], applied: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the manifest, and those of the live object that the last apply did not set."""
    kept = {key: value for key, value in live.items() if key not in manifest and key not in applied}
    given = {
        key: merge(_mapping(live.get(key)), _mapping(applied.get(key)), value) if isinstance(value, Mapping) else value
        for key, value in manifest.items()
        if value is not None
    }
    return kept | given


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
