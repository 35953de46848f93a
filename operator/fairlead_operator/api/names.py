"""Group, kind, labels, annotations, finalizer and field managers: every name that others can see."""

from __future__ import annotations

import re

GROUP = "fairlead.dev"
VERSION = "v1alpha1"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
SHORT_NAME = "mdep"
API_VERSION = f"{GROUP}/{VERSION}"

FINALIZER = f"{GROUP}/serving"
LABEL_MODEL = f"{GROUP}/model"
LABEL_REVISION = f"{GROUP}/revision"
ANNOTATION_DIGEST = f"{GROUP}/digest"

FIELD_MANAGER = "fairlead-operator"
ROUTE_CONFIG_MAP = "fairlead-routes"
LEASE_NAME = "fairlead-operator"

HEADER_REVISION = "x-fairlead-revision"
HEADER_DIGEST = "x-fairlead-digest"

DEFAULT_CLUSTER = "default"
"""A namespace's Ray cluster where nothing else is said; it is no part of a revision's hash."""
CLUSTER_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
CLUSTER_MAX = 63

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
