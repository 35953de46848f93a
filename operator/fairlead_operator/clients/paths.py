"""The URL paths of the objects that the operator reads and writes."""

from __future__ import annotations

from fairlead_operator.api import names
from fairlead_operator.clients import kubernetes
from fairlead_operator.state.infrastructure import ObjectKind

REVISION_API = "apps/v1"
EVENT_API = "events.k8s.io/v1"
SLICE_API = "discovery.k8s.io/v1"


def models(namespace: str | None, name: str | None = None) -> str:
    return kubernetes.path_of(names.API_VERSION, names.PLURAL, namespace=namespace, name=name)


def revisions(namespace: str | None, name: str | None = None) -> str:
    return kubernetes.path_of(REVISION_API, "controllerrevisions", namespace=namespace, name=name)


def model_routes(namespace: str, name: str | None = None) -> str:
    return kubernetes.path_of(names.API_VERSION, names.ROUTE_PLURAL, namespace=namespace, name=name)


def serving_classes(name: str | None = None) -> str:
    return kubernetes.path_of(names.API_VERSION, names.CLASS_PLURAL, name=name)


def endpoint_slices(namespace: str | None) -> str:
    return kubernetes.path_of(SLICE_API, "endpointslices", namespace=namespace)


def pods(namespace: str | None) -> str:
    return kubernetes.path_of("v1", "pods", namespace=namespace)


def of_kind(kind: ObjectKind, namespace: str | None, name: str | None = None) -> str:
    """The objects of a kind, or one of them."""
    return kubernetes.path_of(kind.api_version, kind.plural, namespace=namespace, name=name)


def schemas() -> str:
    """Where the API server shows the schemas of our API; everybody who is authenticated may read it."""
    return f"/openapi/v3/apis/{names.API_VERSION}"


def events(namespace: str, name: str | None = None) -> str:
    return kubernetes.path_of(EVENT_API, "events", namespace=namespace, name=name)
