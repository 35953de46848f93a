"""A Redis in a pod: Debian's program, unpacked on the machine, which is the node."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from tests.node import pods
from tests.support import debian_packages

from fairlead_cli.local import paths
from fairlead_cli.local.node import cluster

PORT = 6379
PASSWORD_KEY = "password"
# The program, and the libraries that no Debian image is sure to have.
_PACKAGES = (
    *("redis-server", "redis-tools", "libatomic1", "libcap2", "libgcrypt20", "libgpg-error0", "libhiredis0.14"),
    *("libjemalloc2", "liblua5.1-0", "liblz4-1", "liblzf1", "liblzma5", "libssl3", "libsystemd0", "libzstd1"),
    *("lua-bitop", "lua-cjson"),
)


def apply(node: cluster.NodeCluster, *, namespace: str, secret: str, password: str) -> str:
    """Start it in a namespace, with a Secret of its password; the address for Ray."""
    image = node.ensure_image("base")
    pods.apply(node, [make_secret(secret, password), *_server(image, secret)], namespace=namespace)
    return f"redis.{namespace}.svc.cluster.local:{PORT}"


def make_secret(name: str, password: str) -> dict[str, object]:
    """A Secret with the password, for the Redis and for each namespace whose Ray heads use it."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {PASSWORD_KEY: password}}


def _server(image: str, secret: str) -> list[dict[str, Any]]:
    labels = {"app": "redis"}
    password = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": secret, "key": PASSWORD_KEY}}}
    options = f"--port {PORT} --save '' --dir /tmp --protected-mode no"
    container = {
        "name": "redis",
        "image": image,
        "command": ["sh", "-c", f'exec /redis/usr/bin/redis-server {options} --requirepass "$PASSWORD"'],
        "env": [password, {"name": "LD_LIBRARY_PATH", "value": "/redis/usr/lib/x86_64-linux-gnu"}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [
            {"name": "redis", "mountPath": "/redis", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    volumes = [
        {"name": "redis", "hostPath": {"path": str(_folder()), "type": "Directory"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "redis"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "redis"},
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
