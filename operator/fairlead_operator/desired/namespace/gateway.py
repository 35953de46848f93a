"""The gateway of a namespace: its pods, how they are reached, and what they may read."""

from __future__ import annotations

from typing import Any

from fairlead_operator.api import names
from fairlead_operator.state.serving_class import GatewayPods, ServingClass

DATA_PORT = 8000
ADMIN_PORT = 8001
CLIENT_PORT = 80
STOP_DELAY_S = 10
"""An ending pod serves on for so long, until everything in front of it has noticed that it is not ready."""
STOP_GRACE_S = 60
"""After that, requests in flight may take so long."""
_END_S = STOP_DELAY_S + STOP_GRACE_S + 15
_STATE_FOLDER = "/run/fairlead"
_USER = 10001


def selector() -> dict[str, str]:
    """The labels by which the gateway's pods are found."""
    return {"app.kubernetes.io/name": names.GATEWAY}


def service_account() -> dict[str, Any]:
    return {"metadata": {"labels": selector()}, "automountServiceAccountToken": False}


def role() -> dict[str, Any]:
    """It reads routes, and where the Ray nodes are."""
    return {
        "metadata": {"labels": selector()},
        "rules": [
            {"apiGroups": [names.GROUP], "resources": [names.ROUTE_PLURAL], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }


def role_binding(namespace: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": selector()},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": names.GATEWAY},
        "subjects": [{"kind": "ServiceAccount", "name": names.GATEWAY, "namespace": namespace}],
    }


def service(pods: GatewayPods) -> dict[str, Any]:
    """What clients call."""
    return {
        "metadata": {"labels": selector()},
        "spec": {
            "type": pods.service_type,
            "selector": selector(),
            "ports": [{"name": "http", "port": CLIENT_PORT, "targetPort": "data"}],
        },
    }


def members_service() -> dict[str, Any]:
    """Lists every gateway pod, those that are not ready or are ending too: each of them may still have requests."""
    return {
        "metadata": {"labels": {**selector(), names.LABEL_ENDPOINTS: "gateways"}},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(),
            "ports": [
                {"name": "data", "port": DATA_PORT, "targetPort": "data"},
                {"name": "admin", "port": ADMIN_PORT, "targetPort": "admin"},
            ],
        },
    }


def disruption_budget() -> dict[str, Any]:
    return {
        "metadata": {"labels": selector()},
        "spec": {
            "maxUnavailable": 1,
            # A pod that doesn't become ready must not hold up the drain of its node.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector()},
        },
    }


def deployment(class_: ServingClass, namespace: str) -> dict[str, Any]:
    """A new pod is ready before an old one ends."""
    labels = {**selector(), names.LABEL_PART_OF: names.PRODUCT}
    return {
        "metadata": {"labels": selector()},
        "spec": {
            "replicas": class_.gateway.replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": selector()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": _pod(class_, namespace)},
        },
    }


def _pod(class_: ServingClass, namespace: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "serviceAccountName": names.GATEWAY,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _END_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(class_.gateway, namespace)],
        "topologySpreadConstraints": [_spread("kubernetes.io/hostname"), _spread("topology.kubernetes.io/zone")],
        "volumes": [{"name": "state", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    if class_.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in class_.image_pull_secrets]
    return spec


def _container(pods: GatewayPods, namespace: str) -> dict[str, Any]:
    memory = str(pods.size.memory_bytes)
    return {
        "name": "gateway",
        "image": pods.image,
        "args": [
            f"--namespace={namespace}",
            f"--listen=0.0.0.0:{DATA_PORT}",
            f"--admin=0.0.0.0:{ADMIN_PORT}",
            # A volume's own folder belongs to root, and the gateway closes its folder to all others.
            f"--state-dir={_STATE_FOLDER}/gateway",
            "--discover-nodes",
            "--gateway-id=$(POD_NAME)",
            f"--stop-delay={STOP_DELAY_S}",
            f"--stop-grace={STOP_GRACE_S}",
        ],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": "data", "containerPort": DATA_PORT}, {"name": "admin", "containerPort": ADMIN_PORT}],
        "resources": {
            "requests": {"cpu": f"{pods.size.cpu_millicores}m", "memory": memory},
            # A limit on processors would hold back HAProxy in the middle of a request.
            "limits": {"memory": memory},
        },
        # It starts with Python's imports, which take seconds on a busy node.
        "startupProbe": {"httpGet": {"path": "/healthz", "port": "admin"}, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 2, "timeoutSeconds": 5},
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "admin"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "state", "mountPath": _STATE_FOLDER},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        ],
    }


def _spread(key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector()},
    }
