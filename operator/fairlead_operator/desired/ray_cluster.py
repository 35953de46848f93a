"""A serving class -> the RayCluster object, as KubeRay 1.6 takes it.

A RayCluster is never changed, except for the bounds of its workers: another image, size or Ray is another cluster with
another name, and models move to it by a rollout. So the name holds a digest of all that KubeRay makes pods from, which
an autoscaler in the head's pod is part of.

Source: KubeRay v1.6.2, `ray-operator/controllers/ray/common/pod.go` (what it adds to the pods), `apis/ray/v1`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.desired import collector, model_sources, node_removal, ray_autoscaler
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import WantedCluster, WorkerBounds
from fairlead_operator.state.serving_class import HeadStorage, PayloadSinks, RayPods, ServingClass, Tracing

DIRECTORY_PORT = 7999
"""Where each node lists its replicas (docs/contracts.md, "Replica discovery")."""
DRAIN_S = 120
"""How long a worker that is asked to end may go on: Ray moves its replicas to other workers, and they end theirs."""
_STOP_S = 15
"""Of it, what ending Ray's own processes may take."""
STORAGE_CLEANUP_S = 120
"""How long KubeRay may try to remove a deleted cluster's state from Redis. It begins a Job for that, which no namespace
that is being deleted takes: then the RayCluster goes without it."""
OBJECT_STORE_BYTES = 200 * 1024 * 1024
_NODE_FOLDER = "/run/fairlead"
_USER = 10001
_HEAD_PORTS = {"gcs-server": 6379, "dashboard": 8265, "metrics": 8080}
_WORKER_PORTS = {"metrics": 8080, "directory": DIRECTORY_PORT}
_AGENT_PORT = 52365
"""The dashboard's agent of each node listens here. Ray's default."""
_AGENT_GRPC_PORT = 8267
_RUNTIME_ENV_AGENT_PORT = 8268
"""Fixed, as the one above: a raylet that has to learn a port from its agent ends when that takes 15 seconds."""


def build(class_: ServingClass, *, namespace: str) -> WantedCluster:
    """The object, without owner; its name depends on its spec, without the workers' bounds and the pods' annotations.

    Raises:
        ValueError: the class's name leaves no room for the digest.
    """
    name = cluster_name(class_, namespace=namespace)
    labels = {**infrastructure.product_labels(), names.LABEL_CLUSTER: name, names.LABEL_CLASS: class_.name}
    spec = _spec(class_, cluster=f"{namespace}/{name}", name=name)
    idle_s = class_.idle_s if class_.is_scaled else None
    bounds = WorkerBounds(least=class_.workers_min, most=class_.workers_max, idle_s=idle_s)
    (workers,) = spec["workerGroupSpecs"]
    # Without `replicas` KubeRay has as many workers as the lower bound says; afterwards the autoscaler writes it.
    workers |= {"minReplicas": bounds.least, "maxReplicas": bounds.most}
    # No part of the digest, as they change nothing in a pod: a cluster without them is not replaced for them.
    spec["headGroupSpec"]["template"]["metadata"]["annotations"] = node_removal.of_head(class_.head_storage)
    workers["template"]["metadata"]["annotations"] = node_removal.MOVES
    if idle_s is not None:
        workers["idleTimeoutSeconds"] = idle_s
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
    if class_.head_storage is not None:
        metadata["annotations"] = {"ray.io/gcs-ft-deletion-timeout": str(STORAGE_CLEANUP_S)}
    body = {
        "apiVersion": infrastructure.RAY_CLUSTER.api_version,
        "kind": infrastructure.RAY_CLUSTER.kind,
        "metadata": metadata,
        "spec": spec,
    }
    return WantedCluster(name=name, body=body, bounds=bounds)


def cluster_name(class_: ServingClass, *, namespace: str) -> str:
    """`<class>-<10 hex digits>`: what the cluster is called in revisions, routes and directories as well.

    Raises:
        ValueError: it would be longer than KubeRay allows.
    """
    # The spec names the cluster, which is what is to be found: so it is digested without a name.
    text = json.dumps(_spec(class_, cluster=namespace, name=""), sort_keys=True)
    found = f"{class_.name}-{hashlib.sha256(text.encode()).hexdigest()[: names.RAY_CLUSTER_DIGITS]}"
    if len(found) > names.RAY_CLUSTER_MAX:
        raise ValueError(f"the serving class's name {class_.name!r} is longer than {names.CLASS_NAME_MAX}")
    return found


def _spec(class_: ServingClass, *, cluster: str, name: str) -> dict[str, Any]:
    labels = {names.LABEL_PART_OF: names.PRODUCT, names.LABEL_CLUSTER: name}
    spec = {
        **_storage(class_.head_storage),
        "rayVersion": class_.ray_version,
        "authOptions": {"mode": "token", "secretName": names.TOKEN_SECRET},
        "headGroupSpec": {
            # No replica runs on the head: its death must cost none.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0", **_common_params()},
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(class_, class_.head, cluster=cluster, ports=_HEAD_PORTS, name="ray-head"),
            },
        },
        "workerGroupSpecs": [
            {
                "groupName": infrastructure.WORKER_GROUP,
                "numOfHosts": 1,
                "rayStartParams": {"num-cpus": str(class_.worker.ray_cores), **_common_params()},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": _pod(class_, class_.worker, cluster=cluster, ports=_WORKER_PORTS, name="ray-worker"),
                },
            }
        ],
    }
    return ray_autoscaler.add(spec) if class_.is_scaled else spec


def _storage(storage: HeadStorage | None) -> dict[str, Any]:
    """The storage namespace is left to KubeRay: it takes the object's UID, which no other cluster ever has."""
    if storage is None:
        return {}
    options: dict[str, Any] = {"redisAddress": storage.redis_address}
    if storage.password is not None:
        name, key = storage.password
        options["redisPassword"] = {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
    return {"gcsFaultToleranceOptions": options}


def _common_params() -> dict[str, str]:
    return {
        "object-store-memory": str(OBJECT_STORE_BYTES),
        "dashboard-agent-listen-port": str(_AGENT_PORT),
        "dashboard-agent-grpc-port": str(_AGENT_GRPC_PORT),
        "runtime-env-agent-port": str(_RUNTIME_ENV_AGENT_PORT),
        "disable-usage-stats": "true",
    }


def _pod(class_: ServingClass, pods: RayPods, *, cluster: str, ports: dict[str, int], name: str) -> dict[str, Any]:
    is_head = ports is _HEAD_PORTS
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        # A Service of the namespace could set a variable that Ray reads.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30 if is_head else DRAIN_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(class_, pods, cluster=cluster, ports=ports, name=name)],
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "node", "emptyDir": {}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
            # No replica runs on the head, so it gets nothing for reading models or sending spans.
            *([] if is_head else _replica_volumes(class_)),
        ],
    }
    if class_.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": each} for each in class_.image_pull_secrets]
    if pods.node_selector:
        spec["nodeSelector"] = dict(pods.node_selector)
    if pods.tolerations:
        spec["tolerations"] = [dict(each) for each in pods.tolerations]
    if pods.priority_class is not None:
        spec["priorityClassName"] = pods.priority_class
    if not is_head:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"ray.io/node-type": "worker"}},
                "matchLabelKeys": [names.LABEL_CLUSTER],
            }
        ]
    return spec


def _list_tracing_variables(chosen: Tracing | None) -> list[dict[str, Any]]:
    """The collector of spans; none of these variables without one."""
    if chosen is None:
        return []
    return [
        {"name": "FAIRLEAD_TRACES_ENDPOINT", "value": chosen.endpoint},
        {"name": "FAIRLEAD_TRACES_SAMPLE_PERCENT", "value": collector.write_percent(chosen)},
        *([] if chosen.ca_config_map is None else [{"name": "FAIRLEAD_TRACES_CA_FILE", "value": collector.CA_FILE}]),
    ]


def _list_sink_variables(chosen: PayloadSinks | None) -> list[dict[str, Any]]:
    """The sinks of payload logs; none of these variables without one."""
    if chosen is None:
        return []
    given = {
        "FAIRLEAD_PAYLOAD_SINK_HOSTS": ",".join(chosen.hosts),
        "FAIRLEAD_PAYLOAD_SINK_NETWORKS": ",".join(chosen.networks),
        "FAIRLEAD_PAYLOAD_SINK_CREDENTIALS": model_sources.write_credentials(chosen.credentials),
    }
    return [{"name": name, "value": value} for name, value in given.items() if value]


def _list_replica_variables(class_: ServingClass) -> list[dict[str, Any]]:
    """What replicas read of the class. No replica runs on the head, so only workers have these variables."""
    return [
        *model_sources.variables(class_.sources, class_.payload_sinks),
        *_list_tracing_variables(class_.tracing),
        *_list_sink_variables(class_.payload_sinks),
    ]


def _replica_volumes(class_: ServingClass) -> list[dict[str, Any]]:
    return [*model_sources.volumes(class_.sources, class_.payload_sinks), *collector.volumes(class_.tracing)]


def _replica_mounts(class_: ServingClass) -> list[dict[str, Any]]:
    return [*model_sources.mounts(class_.sources, class_.payload_sinks), *collector.mounts(class_.tracing)]


def _container(
    class_: ServingClass, pods: RayPods, *, cluster: str, ports: dict[str, int], name: str
) -> dict[str, Any]:
    is_head = ports is _HEAD_PORTS
    resources = {"cpu": f"{pods.size.cpu_millicores}m", "memory": str(pods.size.memory_bytes)}
    ready = ports.get("dashboard", _AGENT_PORT)
    alive = ports.get("gcs-server", _AGENT_PORT)
    return {
        "name": name,
        "image": class_.image,
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "FAIRLEAD_CLUSTER", "value": cluster},
            {"name": "FAIRLEAD_REPLICA_HOST", "value": "$(POD_IP)"},
            {"name": "FAIRLEAD_NODE_FOLDER", "value": f"{_NODE_FOLDER}/replicas"},
            {"name": "FAIRLEAD_NODE_DIRECTORY", "value": f"$(POD_IP):{DIRECTORY_PORT}"},
            {"name": "FAIRLEAD_WARM_START_FOLDER", "value": f"{_NODE_FOLDER}/warm"},
            # Requests come from the gateway to the replicas themselves: Serve's own ways in stay closed.
            {"name": "RAY_SERVE_ENABLE_HA_PROXY", "value": "0"},
            {"name": "RAY_SERVE_ENABLE_DIRECT_INGRESS", "value": "0"},
            {"name": "RAY_worker_niceness", "value": "0"},
            # How long a raylet waits for its runtime environment agent before it ends, which busy processors may need.
            {"name": "RAY_agent_register_timeout_ms", "value": "120000"},
            {"name": "RAY_prestart_worker_first_driver", "value": "0"},
            # After SIGTERM: how long Ray waits for replicas to move. None is on the head.
            {"name": "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "value": str(0 if is_head else DRAIN_S - _STOP_S)},
            *([] if is_head else _list_replica_variables(class_)),
        ],
        "ports": [{"name": each, "containerPort": port} for each, port in ports.items()],
        # A limit on processors would throttle TensorFlow's threads in the middle of a request.
        "resources": {"requests": resources, "limits": {"memory": resources["memory"]}},
        # KubeRay adds probes of its own, with a program that the image lacks, unless there are some.
        "startupProbe": {"tcpSocket": {"port": alive}, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {"tcpSocket": {"port": ready}, "periodSeconds": 5, "timeoutSeconds": 5},
        "livenessProbe": {
            "tcpSocket": {"port": alive},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 12,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "node", "mountPath": _NODE_FOLDER},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108
            *([] if is_head else _replica_mounts(class_)),
        ],
    }
