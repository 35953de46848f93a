"""The gateway of a namespace: its pods, how they are reached, and what they may read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.desired import collector, node_removal
from fairlead_operator.state.serving_class import GatewayPods, ServingClass, Tracing

DATA_PORT = 8000
ADMIN_PORT = 8001
INTERNAL_PORT = 8002
"""For proofs of the operator and copies of replicas."""
CLIENT_PORT = 80
CLIENT_TLS_PORT = 443
STOP_DELAY_S = 10
"""An ending pod serves on for so long, until everything in front of it has noticed that it is not ready."""
STOP_GRACE_S = 60
"""After that, requests in flight may take so long."""
_END_S = STOP_DELAY_S + STOP_GRACE_S + 15
_STATE_FOLDER = "/run/fairlead"
_TLS_FOLDER = "/etc/fairlead/tls"
_API_KEYS_FOLDER = "/etc/fairlead/api-keys"
_JWKS_FOLDER = "/etc/fairlead/jwks"
_JWKS_FILE = "jwks.json"
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
            {"apiGroups": [names.GROUP], "resources": [names.ROUTE_PLURAL], "verbs": ["list", "watch"]},
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
    """What clients call. With TLS the pods' port has another name, so that no pod without TLS is behind the Service."""
    port: dict[str, Any] = {"name": "http", "port": CLIENT_PORT, "targetPort": "data"}
    if pods.tls_secret is not None:
        port = {"name": "https", "port": CLIENT_TLS_PORT, "targetPort": "data-tls"}
    return {
        "metadata": {"labels": selector()},
        "spec": {
            "type": pods.service_type,
            "selector": selector(),
            "ports": [port],
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
                {"name": "data", "port": DATA_PORT, "targetPort": DATA_PORT},
                {"name": "admin", "port": ADMIN_PORT, "targetPort": "admin"},
                # By its name: a pod of an earlier version has no such port, and is in a slice without it.
                {"name": "internal", "port": INTERNAL_PORT, "targetPort": "internal"},
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
            "template": {
                "metadata": {"labels": labels, "annotations": node_removal.MOVES},
                "spec": _pod(class_, namespace),
            },
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
        "containers": [_container(class_, namespace)],
        "topologySpreadConstraints": [_spread("kubernetes.io/hostname"), _spread("topology.kubernetes.io/zone")],
        "volumes": [
            {"name": "state", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
            *_volumes(class_.gateway),
            *collector.volumes(class_.tracing),
        ],
    }
    if class_.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in class_.image_pull_secrets]
    return spec


def _secrets(pods: GatewayPods) -> Iterator[tuple[str, str, str]]:
    """Name of the volume, Secret, folder. A pod waits for its Secrets; then the kubelet keeps the files as they are."""
    if pods.tls_secret is not None:
        yield "tls", pods.tls_secret, _TLS_FOLDER
    if pods.api_keys_secret is not None:
        yield "api-keys", pods.api_keys_secret, _API_KEYS_FOLDER


def _volumes(pods: GatewayPods) -> Iterator[dict[str, Any]]:
    for name, secret, _ in _secrets(pods):
        yield {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}
    if pods.tokens is not None:
        # Named, so that a pod waits for a ConfigMap that lacks it.
        items = [{"key": _JWKS_FILE, "path": _JWKS_FILE}]
        source = {"name": pods.tokens.config_map, "items": items, "defaultMode": 0o440}
        yield {"name": "jwks", "configMap": source}


def _mounts(pods: GatewayPods) -> Iterator[dict[str, Any]]:
    for name, _, folder in _secrets(pods):
        yield {"name": name, "mountPath": folder, "readOnly": True}
    if pods.tokens is not None:
        yield {"name": "jwks", "mountPath": _JWKS_FOLDER, "readOnly": True}


def _security_flags(pods: GatewayPods) -> Iterator[str]:
    if pods.tls_secret is not None:
        yield f"--tls-certificate={_TLS_FOLDER}/tls.crt"
        yield f"--tls-key={_TLS_FOLDER}/tls.key"
    if pods.api_keys_secret is not None:
        yield f"--api-keys={_API_KEYS_FOLDER}"
    if pods.tokens is not None:
        yield f"--jwks={_JWKS_FOLDER}/{_JWKS_FILE}"
        yield f"--jwt-issuer={pods.tokens.issuer}"
        yield from (f"--jwt-audience={each}" for each in pods.tokens.audiences)
        yield from (f"--jwt-algorithm={each}" for each in pods.tokens.algorithms)
        yield f"--jwt-clock-skew={pods.tokens.clock_skew_s}"
        yield from (f"--jwt-claim={' '.join((name, *values))}" for name, values in pods.tokens.claims)
    if pods.rate_limit is not None:
        rate, burst = pods.rate_limit
        yield f"--rate-limit={rate}:{burst}"


def _trace_flags(chosen: Tracing | None) -> Iterator[str]:
    if chosen is not None:
        yield f"--traces-endpoint={chosen.endpoint}"
        yield f"--traces-sample-percent={collector.write_percent(chosen)}"
        if chosen.ca_config_map is not None:
            yield f"--traces-ca-file={collector.CA_FILE}"


def _container(class_: ServingClass, namespace: str) -> dict[str, Any]:
    pods = class_.gateway
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
            f"--internal-port={INTERNAL_PORT}",
            *_security_flags(pods),
            *(["--access-log"] if pods.has_access_log else []),
            *_trace_flags(class_.tracing),
            *(f"--allow-origin={origin}" for origin in pods.allowed_origins),
        ],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [
            {"name": "data" if pods.tls_secret is None else "data-tls", "containerPort": DATA_PORT},
            {"name": "admin", "containerPort": ADMIN_PORT},
            {"name": "internal", "containerPort": INTERNAL_PORT},
        ],
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
            *_mounts(pods),
            *collector.mounts(class_.tracing),
        ],
    }


def _spread(key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector()},
    }
