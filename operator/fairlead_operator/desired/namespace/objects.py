"""A namespace and the class of its gateway -> every object but the RayClusters and the token's Secret.

The names are a contract between operator and gateway: docs/contracts.md, "What a namespace gets".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import gateway, network
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import ObjectKey, ObjectKind, WantedObject
from fairlead_operator.state.serving_class import ServingClass

OF_CLASS = frozenset(ObjectKey(kind, names.GATEWAY) for kind in (infrastructure.SERVICE, infrastructure.DEPLOYMENT))
"""The objects that differ from class to class."""
_DIGEST_DIGITS = 16
_TOKEN_KEY = "auth_token"  # noqa: S105 - a key


def compose(
    namespace: str, *, gateway_class: ServingClass, clusters: Mapping[str, int | None], callers: network.Callers
) -> tuple[WantedObject, ...]:
    """The objects in the order in which they are made.

    ``clusters`` are all RayClusters, those that are to go too, each with its number of workers: None where that isn't
    known.
    """
    parts = [
        (infrastructure.SERVICE_ACCOUNT, names.GATEWAY, gateway.service_account()),
        (infrastructure.ROLE, names.GATEWAY, gateway.role()),
        (infrastructure.ROLE_BINDING, names.GATEWAY, gateway.role_binding(namespace)),
        (infrastructure.NETWORK_POLICY, names.GATEWAY, network.gateway_policy(callers)),
        (infrastructure.NETWORK_POLICY, names.RAY_POLICY, network.ray_policy(callers)),
        *(
            (infrastructure.SERVICE, f"{name}{names.RAY_NODES_SUFFIX}", nodes_service(name))
            for name in sorted(clusters)
        ),
        *(
            (infrastructure.DISRUPTION_BUDGET, f"{name}{names.RAY_BUDGET_SUFFIX}", worker_budget(name, workers=count))
            for name, count in sorted(clusters.items())
            if count is not None
        ),
        (infrastructure.SERVICE, names.GATEWAY, gateway.service(gateway_class.gateway)),
        (infrastructure.SERVICE, names.GATEWAY_MEMBERS, gateway.members_service()),
        (infrastructure.DISRUPTION_BUDGET, names.GATEWAY, gateway.disruption_budget()),
        (infrastructure.DEPLOYMENT, names.GATEWAY, gateway.deployment(gateway_class, namespace)),
    ]
    return tuple(_wanted(kind, namespace, name, body) for kind, name, body in parts)


def token_secret(namespace: str, token: str) -> dict[str, Any]:
    """The Secret that Ray's nodes, the operator and nobody else read; never changed once it is there."""
    return {
        "apiVersion": infrastructure.SECRET.api_version,
        "kind": infrastructure.SECRET.kind,
        "metadata": {"name": names.TOKEN_SECRET, "namespace": namespace, "labels": infrastructure.product_labels()},
        "type": "Opaque",
        "immutable": True,
        "stringData": {_TOKEN_KEY: token},
    }


def nodes_service(cluster: str) -> dict[str, Any]:
    """Lists the addresses at which the worker nodes of a RayCluster say which replicas they run."""
    labels = {names.LABEL_CLUSTER: cluster, names.LABEL_ENDPOINTS: "ray-nodes"}
    return {
        "metadata": {"labels": labels},
        "spec": {
            "clusterIP": "None",
            # A node counts as soon as it is there: the gateway asks it, and finds out by itself when it ends.
            "publishNotReadyAddresses": True,
            "selector": _worker_labels(cluster),
            "ports": [{"name": "directory", "port": ray_cluster.DIRECTORY_PORT, "targetPort": "directory"}],
        },
    }


def worker_budget(cluster: str, *, workers: int) -> dict[str, Any]:
    """Lets one worker of a RayCluster be evicted at a time: its replicas have moved before the next one.

    It counts the pods that must stay: RayClusters have no `scale` subresource, and without one the API server finds out
    of no `maxUnavailable`, and of no percentage, how many pods it leaves.
    """
    return {
        "metadata": {"labels": {names.LABEL_CLUSTER: cluster}},
        "spec": {
            "minAvailable": max(0, workers - 1),
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": _worker_labels(cluster)},
        },
    }


def _worker_labels(cluster: str) -> dict[str, str]:
    return {names.LABEL_CLUSTER: cluster, "ray.io/node-type": "worker"}


def _wanted(kind: ObjectKind, namespace: str, name: str, parts: dict[str, Any]) -> WantedObject:
    labels = {**infrastructure.product_labels(), **parts.get("metadata", {}).get("labels", {})}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    body = {"apiVersion": kind.api_version, "kind": kind.kind, **parts, "metadata": metadata}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:_DIGEST_DIGITS]
    marked = {**metadata, "annotations": {names.ANNOTATION_APPLIED: digest}}
    return WantedObject(key=ObjectKey(kind, name), body={**body, "metadata": marked}, digest=digest)
