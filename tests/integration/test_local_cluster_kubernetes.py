"""The control plane is a real one: namespaces go away, garbage is collected, a restart keeps what was stored."""

from __future__ import annotations

import json

import pytest
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real


def test_a_deleted_namespace_is_removed(kubernetes: cluster.LocalCluster) -> None:
    assert kubernetes.kubectl("create", "namespace", "short-lived").returncode == 0
    until(
        lambda: kubernetes.kubectl("-n", "short-lived", "get", "sa", "default").returncode == 0,
        "the namespace has its service account",
    )
    assert kubernetes.kubectl("delete", "namespace", "short-lived").returncode == 0
    assert "NotFound" in kubernetes.kubectl("get", "namespace", "short-lived").stderr


def test_objects_of_a_deleted_owner_are_garbage_collected(kubernetes: cluster.LocalCluster) -> None:
    assert kubernetes.kubectl("create", "configmap", "owner").returncode == 0
    uid = kubernetes.kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}").stdout
    owned = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "owned",
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}],
        },
    }
    assert kubernetes.kubectl("create", "-f", "-", input=json.dumps(owned)).returncode == 0
    assert kubernetes.kubectl("delete", "configmap", "owner").returncode == 0
    until(lambda: kubernetes.kubectl("get", "configmap", "owned").returncode != 0, "the garbage collector took it")
