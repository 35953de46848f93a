"""The API server as tests read it: over one connection, where kubectl would start a process a look."""

from __future__ import annotations

import base64
import json
import pathlib
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

Object = Mapping[str, Any]
MODELS = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modeldeployments"
ROUTES = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modelroutes"


def server(kubeconfig: pathlib.Path) -> str:
    """The API server's URL."""
    return str(json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])


def trust(kubeconfig: pathlib.Path) -> ssl.SSLContext:
    """TLS that knows the API server, and shows it nobody."""
    return ssl.create_default_context(cadata=authority(kubeconfig))


def authority(kubeconfig: pathlib.Path) -> str:
    """The certificate of who signed the API server's, as PEM."""
    return _decoded(json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority-data"])


def admin(kubeconfig: pathlib.Path) -> ssl.SSLContext:
    """TLS that knows the API server, and shows it the kubeconfig's user."""
    user = json.loads(kubeconfig.read_text())["users"][0]["user"]
    made = trust(kubeconfig)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
        pair.write(_decoded(user["client-certificate-data"]) + _decoded(user["client-key-data"]))
        pair.flush()
        made.load_cert_chain(pair.name)
    return made


class KubeApi:
    """An admin's client. Every read waits out an API server that is away, as tests take it away."""

    def __init__(self, kubeconfig: pathlib.Path, namespace: str) -> None:
        self._client = httpx.Client(base_url=server(kubeconfig), verify=admin(kubeconfig), timeout=30)
        self._namespace = namespace

    def close(self) -> None:
        self._client.close()

    def models_path(self, name: str = "") -> str:
        path = MODELS.format(namespace=self._namespace)
        return f"{path}/{name}" if name else path

    def routes_path(self, name: str = "") -> str:
        path = ROUTES.format(namespace=self._namespace)
        return f"{path}/{name}" if name else path

    def revisions_path(self) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/controllerrevisions"

    def core_path(self, kind: str, name: str = "") -> str:
        path = f"/api/v1/namespaces/{self._namespace}/{kind}"
        return f"{path}/{name}" if name else path

    def revisions(self, model: str) -> list[Object]:
        """The ControllerRevisions of a model."""
        path = f"/apis/apps/v1/namespaces/{self._namespace}/controllerrevisions"
        found = self.get(path, labelSelector=f"fairlead.dev/model={model}")
        return [] if found is None else list(found["items"])

    def routes(self) -> Mapping[str, Any]:
        """The ``spec`` of each ModelRoute, by model."""
        found = self.get(self.routes_path()) or {"items": []}
        return {item["metadata"]["name"]: item["spec"] for item in found["items"]}

    def get(self, path: str, *, within_s: float = 90.0, **parameters: str) -> Object | None:
        """The object, or None where there is none."""
        answer = self._awaited("GET", path, within_s=within_s, params=parameters)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return dict(answer.json())

    def create(self, path: str, body: Object) -> Object:
        """The object as it was created, also where the answer to an earlier try was lost."""
        answer = self._awaited("POST", path, json=body)
        if answer.status_code == httpx.codes.CONFLICT and (found := self.get(f"{path}/{body['metadata']['name']}")):
            return found
        return dict(answer.raise_for_status().json())

    def merge(self, path: str, patch: Object, *, manager: str = "e2e") -> None:
        """Change an object by a JSON merge patch."""
        headers = {"content-type": "application/merge-patch+json"}
        parameters = {"fieldManager": manager}
        self._awaited("PATCH", path, content=json.dumps(patch), headers=headers, params=parameters).raise_for_status()

    def watch(self, path: str, name: str) -> Iterator[Object]:
        """The named object now and at each change, for as long as the API server keeps the watch."""
        selector = {"fieldSelector": f"metadata.name={name}"}
        found = self._awaited("GET", path, params=selector).raise_for_status().json()
        yield from found["items"]
        asked = {**selector, "watch": "true", "resourceVersion": found["metadata"]["resourceVersion"]}
        with self._client.stream("GET", path, params=asked, timeout=300) as stream:
            for line in stream.iter_lines():
                yield json.loads(line)["object"]

    def _awaited(self, verb: str, path: str, *, within_s: float = 90.0, **request: Any) -> httpx.Response:
        end_s = time.monotonic() + within_s
        while True:
            try:
                answer = self._client.request(verb, path, **request)
                if answer.status_code < 500 or time.monotonic() > end_s:
                    return answer
            except httpx.TransportError:
                if time.monotonic() > end_s:
                    raise
            time.sleep(0.1)


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode()
