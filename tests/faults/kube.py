"""The API server as the bench uses it: an admin's kept connections, straight to the server, past every proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import kube_api

MODELS = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modeldeployments"
REVISIONS = "/apis/apps/v1/namespaces/{namespace}/controllerrevisions"
ROUTES = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modelroutes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
KEPT_S = 20.0
ANSWER_S = 120.0
TRIES = 3
PUT_OFF_MAX = 10
RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"


class KubeError(Exception):
    """The API server refused what the bench asked for."""


class Kube:
    """Safe to use from any thread: each request has a kept connection for itself."""

    def __init__(self, kubeconfig: Path) -> None:
        self.server = kube_api.server(kubeconfig)
        self.trust, self._admin = kube_api.trust(kubeconfig), kube_api.admin(kubeconfig)
        # Not one for each thread: a run's gateway has a few that live no longer than it, and each would shake hands.
        self._idle: queue.LifoQueue[tuple[http.client.HTTPSConnection, float]] = queue.LifoQueue()

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get()[0].close()

    def get(self, path: str) -> dict[str, Any] | None:
        code, body = self._ask("GET", path)
        return None if code == http.HTTPStatus.NOT_FOUND else dict(json.loads(_accepted("GET", path, code, body)))

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(json.loads(_accepted("POST", path, *self._ask("POST", path, json.dumps(body), "application/json"))))

    def apply(self, path: str, body: Mapping[str, Any], *, manager: str) -> None:
        path = f"{path}?fieldManager={manager}&force=true"
        _accepted("PATCH", path, *self._ask("PATCH", path, json.dumps(body), "application/apply-patch+yaml"))

    def patch(self, path: str, patch: Mapping[str, Any]) -> None:
        _accepted("PATCH", path, *self._ask("PATCH", path, json.dumps(patch), "application/merge-patch+json"))

    def delete(self, path: str) -> None:
        code, body = self._ask("DELETE", path)
        if code != http.HTTPStatus.NOT_FOUND:
            _accepted("DELETE", path, code, body)

    def _ask(self, method: str, path: str, body: str | None = None, kind: str = "") -> tuple[int, bytes]:
        """What may be done twice is tried again: an API server that is too busy cuts off what takes it too long.

        So is what the API server puts off (429), after the pause that it names: it does so while a kind is new.
        """
        status, content = self._ask_surely(method, path, body, kind)
        for _ in range(PUT_OFF_MAX):
            if status != http.HTTPStatus.TOO_MANY_REQUESTS:
                break
            time.sleep(json.loads(content).get("details", {}).get("retryAfterSeconds", 1))
            status, content = self._ask_surely(method, path, body, kind)
        return status, content

    def _ask_surely(self, method: str, path: str, body: str | None, kind: str) -> tuple[int, bytes]:
        for _ in range(0 if method == "POST" else TRIES - 1):
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self._ask_once(method, path, body, kind)
        return self._ask_once(method, path, body, kind)

    def _ask_once(self, method: str, path: str, body: str | None, kind: str) -> tuple[int, bytes]:
        """Plain ``http.client``: a run asks a few hundred times, and httpx takes 8 ms of processor for each."""
        connection = self._connection()
        try:
            connection.request(method, path, body, {"Content-Type": kind} if kind else {})
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        self._idle.put((connection, time.monotonic()))
        return status, content

    def _connection(self) -> http.client.HTTPSConnection:
        """One that was used a moment ago, which the server has not closed yet, or a new one."""
        with contextlib.suppress(queue.Empty):
            while True:
                connection, used_at_s = self._idle.get_nowait()
                if time.monotonic() - used_at_s < KEPT_S:
                    return connection
                connection.close()
        url = urllib.parse.urlsplit(self.server)
        return http.client.HTTPSConnection(url.hostname or "", url.port, context=self._admin, timeout=ANSWER_S)

    def make_namespace(self, name: str) -> None:
        """A namespace in which the operator may do what it is shipped to do, and hold its Lease."""
        self.create("/api/v1/namespaces", {"metadata": {"name": name}})
        rbac = RBAC.format(namespace=name)
        self.create(f"{rbac}/rolebindings", _binding("fairlead-operator", "ClusterRole"))
        rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}
        self.create(f"{rbac}/roles", {"metadata": {"name": "lease"}, "rules": [rule]})
        self.create(f"{rbac}/rolebindings", _binding("lease", "Role"))


def _binding(role: str, kind: str) -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": "fairlead-operator", "namespace": "fairlead-system"}
    return {
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [account],
    }


def _accepted(method: str, path: str, code: int, body: bytes) -> bytes:
    if code >= http.HTTPStatus.BAD_REQUEST:
        raise KubeError(f"{method} {path}: {code}: {body.decode(errors='replace')[:500]}")
    return body
