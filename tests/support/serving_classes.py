"""A small ServingClass, as an object and as the operator reads it."""

from __future__ import annotations

from typing import Any

from fairlead_operator.api import serving_class as api
from fairlead_operator.state import serving_class

RAY_IMAGE = "registry.example/fairlead/ray-node@sha256:" + "0" * 64
GATEWAY_IMAGE = "registry.example/fairlead/gateway@sha256:" + "1" * 64


def manifest(name: str = "small", **changes: Any) -> dict[str, Any]:
    """The object; further keywords take the place of parts of the spec."""
    spec = {
        "image": RAY_IMAGE,
        "rayVersion": "2.60.0",
        "head": {"cpu": "500m", "memory": "2Gi"},
        "worker": {"cpu": 2, "memory": "4Gi"},
        "workers": {"min": 1, "max": 10},
        "gateway": {"image": GATEWAY_IMAGE},
        **changes,
    }
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ServingClass",
        "metadata": {"name": name},
        "spec": spec,
    }


def make(name: str = "small", **changes: Any) -> serving_class.ServingClass:
    """The class that the manifest describes."""
    spec = api.ServingClassSpec.model_validate(manifest(name, **changes)["spec"])
    return serving_class.from_spec(name, spec)
