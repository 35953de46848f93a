"""Ray's autoscaler beside the head of a RayCluster whose number of workers may change.

It reads from the head which replicas have no room, and writes the number of workers into the RayCluster.

Source: KubeRay v1.6.2, `ray-operator/controllers/ray/common/pod.go` (BuildAutoscalerContainer: its name, image, command
and service account are KubeRay's) and `common/rbac.go`; Ray 2.60, `ray/autoscaler/_private/kuberay/node_provider.py`.
"""

from __future__ import annotations

from typing import Any

PENDING_IDLE_S = 60
"""How long a worker that has not started yet is kept once no replica needs it any more."""
_IDENTITY = "autoscaler-identity"
_IDENTITY_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
_SCRATCH = "autoscaler-tmp"
_TOKEN_S = 3607
"""As the kubelet has it for every pod: it renews the token in time."""
_MEMORY = "512Mi"


def add(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec of a RayCluster with an autoscaler.

    Only the autoscaler's container gets the service account's token, with which any RayCluster and any pod of the
    namespace can be changed: the head runs the code of every client that has Ray's token.
    """
    head = spec["headGroupSpec"]
    template = head["template"]
    pod = {**template["spec"], "volumes": [*template["spec"]["volumes"], _identity(), _scratch()]}
    return {
        **spec,
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": _options(),
        "headGroupSpec": {**head, "template": {**template, "spec": pod}},
    }


def _options() -> dict[str, Any]:
    return {
        "version": "v2",
        "upscalingMode": "Default",
        "resources": {"requests": {"cpu": "100m", "memory": _MEMORY}, "limits": {"memory": _MEMORY}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "env": [{"name": "RAY_AUTOSCALER_PENDING_NODE_IDLE_TIMEOUT_S", "value": str(PENDING_IDLE_S)}],
        "volumeMounts": [
            {"name": _IDENTITY, "mountPath": _IDENTITY_FOLDER, "readOnly": True},
            {"name": _SCRATCH, "mountPath": "/tmp"},  # noqa: S108 - the container's own
        ],
    }


def _identity() -> dict[str, Any]:
    """What the kubelet mounts into each container of a pod that asks for it."""
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": _TOKEN_S}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": _IDENTITY, "projected": {"sources": sources}}


def _scratch() -> dict[str, Any]:
    return {"name": _SCRATCH, "emptyDir": {}}
