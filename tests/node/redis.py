"""A Redis in a pod, with its data on a claim: Debian's program, unpacked on the machine, which is the node."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from tests.node import claims, pods
from tests.support import debian_packages

from fairlead_cli.local import paths
from fairlead_cli.local.node import cluster, storage

PORT = 6379
_NAME = "redis"
PASSWORD_KEY = "password"
# The program, and the libraries that no Debian image is sure to have.
_PACKAGES = (
    *("redis-server", "redis-tools", "libatomic1", "libcap2", "libgcrypt20", "libgpg-error0", "libhiredis0.14"),
    *("libjemalloc2", "liblua5.1-0", "liblz4-1", "liblzf1", "liblzma5", "libssl3", "libsystemd0", "libzstd1"),
    *("lua-bitop", "lua-cjson"),
)


def apply(node: cluster.NodeCluster, *, namespace: str, secret: str, password: str) -> str:
    """Start it in a namespace, with a Secret of its password; the address for Ray."""
    storage.install(node)
    image = node.ensure_image("base")
    objects = [make_secret(secret, password), claims.claim(_NAME), *_server(image, secret)]
    pods.apply(node, objects, namespace=namespace)
    return f"{_NAME}.{namespace}.svc.cluster.local:{PORT}"


def replace(node: cluster.NodeCluster, *, namespace: str) -> None:
    """End its pod, and start another one when that has gone: two would write the same files."""
    where = (f"--namespace={namespace}", f"deployment/{_NAME}")
    pods.run(node, "scale", *where, "--replicas=0")
    selector = (f"--namespace={namespace}", f"--selector=app={_NAME}")
    pods.run(node, "wait", "--for=delete", "pod", *selector, "--timeout=120s")
    pods.run(node, "scale", *where, "--replicas=1")
    pods.run(node, "rollout", "status", *where, "--timeout=240s")


def make_secret(name: str, password: str) -> dict[str, object]:
    """A Secret with the password, for the Redis and for each namespace whose Ray heads use it."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {PASSWORD_KEY: password}}


def _server(image: str, secret: str) -> list[dict[str, Any]]:
    labels = {"app": _NAME}
    password = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": PASSWORD_KEY}}}
    options = f"--port {PORT} --save '' --appendonly yes --dir /data --protected-mode no"
    container = {
        "name": "redis",
        "image": image,
        "command": ["sh", "-c", f'exec /redis/usr/bin/redis-server {options} --requirepass "$PASSWORD"'],
        "env": [password, {"name": "LD_LIBRARY_PATH", "value": "/redis/usr/lib/x86_64-linux-gnu"}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "redis", "mountPath": "/redis", "readOnly": True},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    volumes = [
        {"name": "redis", "hostPath": {"path": str(_folder()), "type": "Directory"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": _NAME}},
    ]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME},
        "spec": {"selector": labels, "ports": [{"port": PORT}]},
    }
    return [deployment, service]


def _folder() -> pathlib.Path:
    """The unpacked packages, in the cache."""
    kept = paths.cache_dir() / "bin" / "debian" / "redis"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            debian_packages.unpack(_PACKAGES, pathlib.Path(folder)).rename(kept)
    return kept
