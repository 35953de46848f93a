"""Who may connect to the pods of a namespace. What they connect to is not limited: models are fetched from anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import gateway

DASHBOARD_PORT = 8265
METRICS_PORT = 8080
OPERATOR_LABELS = {"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": "operator"}
"""Of the operator's pods, as the chart makes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """The namespaces of the operator and of Prometheus; with None no Prometheus may connect."""

    operator: str
    prometheus: str | None = None


def gateway_policy(callers: Callers) -> dict[str, Any]:
    """Everybody may send requests; only the operator and Prometheus may read the admin port.

    The internal port is for the operator and for the replicas of the namespace.
    """
    return {
        "metadata": {"labels": gateway.selector()},
        "spec": {
            "podSelector": {"matchLabels": gateway.selector()},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"ports": [_tcp(gateway.DATA_PORT)]},
                {"ports": [_tcp(gateway.ADMIN_PORT)], "from": [_operator(callers), *_prometheus(callers)]},
                {"ports": [_tcp(gateway.INTERNAL_PORT)], "from": [_operator(callers), _ray_pods()]},
            ],
        },
    }


def ray_policy(callers: Callers) -> dict[str, Any]:
    """The nodes and the gateway may connect to every port, the operator to the dashboard, Prometheus to the metrics.

    Ray's are at a port of their own, those of the replicas at the node's directory.

    A replica trusts everything that reaches its port, and Ray's token doesn't protect it.
    """
    return {
        "spec": {
            "podSelector": {"matchExpressions": [{"key": names.LABEL_CLUSTER, "operator": "Exists"}]},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        _ray_pods(),
                        {"podSelector": {"matchLabels": gateway.selector()}},
                    ]
                },
                {"ports": [_tcp(DASHBOARD_PORT)], "from": [_operator(callers)]},
                # A rule without a source would let everybody in.
                *(
                    {"ports": [_tcp(METRICS_PORT), _tcp(ray_cluster.DIRECTORY_PORT)], "from": [source]}
                    for source in _prometheus(callers)
                ),
            ],
        },
    }


def _ray_pods() -> dict[str, Any]:
    return {"podSelector": {"matchExpressions": [{"key": names.LABEL_CLUSTER, "operator": "Exists"}]}}


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _operator(callers: Callers) -> dict[str, Any]:
    """The pods of the chart's Deployment alone: its namespace may have others."""
    return {**_namespace(callers.operator), "podSelector": {"matchLabels": OPERATOR_LABELS}}


def _prometheus(callers: Callers) -> list[dict[str, Any]]:
    """The pods with the label that Prometheus' operator and its chart give them: anybody may give it to a pod."""
    if callers.prometheus is None:
        return []
    labels = {"app.kubernetes.io/name": "prometheus"}
    return [{**_namespace(callers.prometheus), "podSelector": {"matchLabels": labels}}]
