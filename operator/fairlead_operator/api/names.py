"""Group, kind, labels, annotations, finalizer and field managers: every name that others can see."""

from __future__ import annotations

import re

GROUP = "fairlead.dev"
VERSION = "v1alpha1"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
SHORT_NAME = "mdep"
ROUTE_KIND = "ModelRoute"
ROUTE_PLURAL = "modelroutes"
CLASS_KIND = "ServingClass"
CLASS_PLURAL = "servingclasses"
CLASS_SHORT_NAME = "sclass"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = f"{GROUP}/serving"
LABEL_MODEL = f"{GROUP}/model"
LABEL_REVISION = f"{GROUP}/revision"
ANNOTATION_DIGEST = f"{GROUP}/digest"
LABEL_CLUSTER = f"{GROUP}/cluster"
LABEL_CLASS = f"{GROUP}/serving-class"
LABEL_ENDPOINTS = f"{GROUP}/endpoints"
"""What the EndpointSlices of a Service list: `ray-nodes` or `gateways`."""
ANNOTATION_APPLIED = f"{GROUP}/applied"
"""A digest of what the operator applied: an object that has it is as it should be."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_PART_OF = "app.kubernetes.io/part-of"
PRODUCT = "fairlead"
"""The value of both labels on what the operator makes in a namespace."""

FIELD_MANAGER = "fairlead-operator"
LEASE_NAME = "fairlead-operator"

HEADER_REVISION = "x-fairlead-revision"
HEADER_DIGEST = "x-fairlead-digest"

DEFAULT_CLUSTER = "default"
"""A namespace's Ray cluster where nothing else is said; it is no part of a revision's hash."""
TOKEN_SECRET = "fairlead-ray-token"  # noqa: S105 - a name
"""A Secret of each namespace with a Ray cluster: the token under `auth_token`."""
GATEWAY = "fairlead-gateway"
"""The name of all that makes up a namespace's gateway."""
GATEWAY_MEMBERS = "fairlead-gateway-members"
LABEL_SERVICE_NAME = "kubernetes.io/service-name"
"""Of an EndpointSlice: the Service that Kubernetes made it for."""
RAY_POLICY = "fairlead-ray"
"""The NetworkPolicy of all Ray clusters of a namespace."""
RAY_NODES_SUFFIX = "-nodes"
RAY_BUDGET_SUFFIX = "-workers"
CLUSTER_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
CLUSTER_MAX = 63

RAY_CLUSTER_MAX = 50
"""KubeRay makes the names of Services and pods from a RayCluster's."""
RAY_CLUSTER_DIGITS = 10
"""Hex digits at the end of a RayCluster's name, which stand for its content."""
CLASS_NAME_MAX = RAY_CLUSTER_MAX - RAY_CLUSTER_DIGITS - 1

MODEL_NAME_MAX = 50
SERVE_APPLICATION_MAX = 63 + 2 + MODEL_NAME_MAX + 2 + 10
"""A namespace, a model and a revision."""

_REVISION = re.compile(r"[0-9a-f]{10}")


def controller_revision(model: str, revision: str) -> str:
    """The name of the ControllerRevision that keeps a revision's template."""
    return f"{model}-{revision}"


def serve_application(namespace: str, model: str, revision: str) -> str:
    """The name of the Ray Serve application that runs a revision."""
    return f"{namespace}--{model}--{revision}"


def is_application_of(application: str, namespace: str, model: str) -> bool:
    """Whether a Ray Serve application runs a revision of exactly this model.

    The owner is everything before the last ``--``: a prefix would also match the model ``digits--two`` for ``digits``.
    """
    owner, _, revision = application.rpartition("--")
    return owner == f"{namespace}--{model}" and _REVISION.fullmatch(revision) is not None
