"""The API server as the bench uses it: an admin's kept connections, straight to the server, past every proxy."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

MODELS = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modeldeployments"
REVISIONS = "/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
ROUTES = "/api/v1/namespaces/{namespace}/configmaps/fairlead-routes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


class Kube:
    """Safe to use from any thread."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.server = str(cluster["server"])
        self.trust = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        admin = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
            pair.flush()
            admin.load_cert_chain(pair.name)
        self._client = httpx.Client(base_url=self.server, verify=admin, timeout=30)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        answer = self._client.get(path, params=query)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return dict(answer.raise_for_status().json())

    def create(self, path: str, body: Mapping[str, Any]) -> None:
        self._client.post(path, json=body).raise_for_status()

    def patch(self, path: str, patch: Mapping[str, Any]) -> None:
        self._client.patch(path, content=json.dumps(patch), headers=MERGE_PATCH).raise_for_status()

    def delete(self, path: str) -> None:
        answer = self._client.delete(path)
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()

    def make_namespace(self, name: str) -> None:
        """A namespace in which the operator may do what it is shipped to do, and hold its Lease there."""
        self.create("/api/v1/namespaces", {"metadata": {"name": name}})
        rbac = RBAC.format(namespace=name)
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
        self.create(f"{rbac}/roles", {"metadata": {"name": "lease"}, "rules": [rule]})
        for role, kind in (("fairlead-operator", "ClusterRole"), ("lease", "Role")):
            self.create(f"{rbac}/rolebindings", _binding(role, kind))


def _binding(role: str, kind: str) -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": "fairlead-operator", "namespace": "fairlead-system"}
    return {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [account],
    }


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
