"""The Kubernetes API, as JSON over the official asyncio client's transport.

Objects stay plain mappings here: the generated models would be built and thrown away for each of a thousand objects,
and would drop fields that they do not know.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from kubernetes.aio.client import rest

from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock

Object = dict[str, Any]
OnRequest = Callable[[str, str, float], None]  # verb, code, seconds

CONNECT_TIMEOUT_S = 3.0
TOTAL_TIMEOUT_S = 10.0
PAGE_LIMIT = 500
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
USER_AGENT = "fairlead-operator"


def path_of(api_version: str, plural: str, *, namespace: str | None = None, name: str | None = None) -> str:
    """The URL path of an object or a collection (``v1`` is the core group)."""
    parts = ["api" if api_version == "v1" else "apis", api_version]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(plural)
    if name is not None:
        parts.append(urllib.parse.quote(name, safe=""))
    return "/" + "/".join(parts)


async def load_configuration(kubeconfig: Path | None) -> aio_client.Configuration:
    """Where the API server is and who we are: a kubeconfig, else the pod's service account (re-read each minute)."""
    configuration = aio_client.Configuration()
    try:
        if kubeconfig is not None:
            await aio_config.load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
        else:
            aio_config.load_incluster_config(client_configuration=configuration)
    except (aio_config.ConfigException, OSError, KeyError, TypeError) as error:
        where = f"kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        raise errors.Refused(f"cannot take credentials from {where}: {error}") from error
    configuration.connection_pool_maxsize = 32
    return configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What another client of the same API server needs; kept out of logs."""

    server: str
    ca_path: str | None
    is_insecure: bool
    scheme: str | None
    token: str | None = field(repr=False)
    certificate_path: str | None
    private_key_path: str | None


async def fetch_credentials(configuration: aio_client.Configuration) -> Credentials:
    """The credentials as they are now: a service account's token is read again when it is a minute old."""
    header = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.strip().rpartition(" ")
    return Credentials(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        is_insecure=not configuration.verify_ssl,
        scheme=(scheme or "Bearer") if token else None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
    )


class KubernetesClient:
    """Verbs over URL paths; every request has a deadline and is counted."""

    def __init__(self, configuration: aio_client.Configuration, *, clock: Clock, on_request: OnRequest) -> None:
        self._configuration = configuration
        self._transport = rest.RESTClientObject(configuration)
        self._clock = clock
        self._on_request = on_request
        self._timeout = aiohttp.ClientTimeout(total=TOTAL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)

    async def close(self) -> None:
        await self._transport.close()

    async def get(self, path: str) -> Object:
        """The object as the quorum has it (no resourceVersion is sent, so no cache may answer)."""
        return await self._request("GET", path)

    async def list_all(self, path: str, *, label_selector: str | None = None) -> tuple[list[Object], str]:
        """Every object of a collection, page by page, and the collection's resourceVersion; consistent reads only.

        A continue token that has expired (410) starts the list again, so that two ages are never mixed.
        """
        while True:
            try:
                items: list[Object] = []
                version = ""
                async for page in self._pages(path, label_selector):
                    items += page.get("items") or []
                    version = (page.get("metadata") or {}).get("resourceVersion", "")
                return items, version
            except _Expired:
                continue

    async def create(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._request("POST", path, body=body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._request("PUT", path, body=body)

    async def merge_patch(self, path: str, body: Mapping[str, Any]) -> Object:
        return await self._request("PATCH", path, body=body, content_type=MERGE_PATCH)

    async def json_patch(self, path: str, operations: Sequence[Mapping[str, Any]]) -> Object:
        return await self._request("PATCH", path, body=list(operations), content_type=JSON_PATCH)

    async def apply(self, path: str, body: Mapping[str, Any], *, field_manager: str) -> Object:
        """Server-side apply. Forced: the field manager is ours alone, a foreign hand on our fields is drift."""
        query = {"fieldManager": field_manager, "force": "true"}
        return await self._request("PATCH", path, query=query, body=body, content_type=APPLY_PATCH)

    async def delete(self, path: str, *, uid: str) -> None:
        """Delete the object of this uid; gone, or another one of the same name, is fine."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._request("DELETE", path, body=body)
        except (errors.NotFound, errors.Conflict):
            return

    async def _pages(self, path: str, label_selector: str | None) -> AsyncIterator[Object]:
        query = {"limit": str(PAGE_LIMIT)}
        if label_selector is not None:
            query["labelSelector"] = label_selector
        while True:
            page = await self._request("GET", path, query=query, verb="LIST")
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        verb: str | None = None,
    ) -> Object:
        url = f"{self._configuration.host}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Content-Type": content_type, "Accept": JSON, "User-Agent": USER_AGENT}
        for setting in (await self._configuration.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        started_s = self._clock.monotonic_s()
        code = "none"
        try:
            answer = await self._transport.request(
                method, url, headers=headers, body=body, _request_timeout=self._timeout
            )
            code = str(answer.status)
            text: bytes = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise errors.Unreachable(f"API server: {method} {path}: {type(error).__name__}: {error}") from error
        finally:
            self._on_request(verb or method, code, self._clock.monotonic_s() - started_s)
        return _parse(f"{method} {path}", answer.status, answer.headers.get("Retry-After"), text)


class _Expired(errors.FairleadError):
    """410: the continue token or resourceVersion is too old."""


def _parse(what: str, code: int, retry_after: str | None, text: bytes) -> Object:
    try:
        document = json.loads(text) if text else {}
    except ValueError as error:
        if code < 400:
            raise errors.Unreachable(f"API server: {what}: cut or broken JSON") from error
        document = {}
    if code < 400 and isinstance(document, dict):
        return document
    reason = document.get("reason", "") if isinstance(document, dict) else ""
    message = document.get("message", "") if isinstance(document, dict) else ""
    sentence = f"API server: {what}: {code} {reason}: {message}"
    if code == 409:
        raise (errors.AlreadyExists if reason == "AlreadyExists" else errors.Conflict)(sentence)
    kind = _ERROR_OF_CODE.get(code, errors.Unreachable if code >= 500 else errors.Refused)
    raise kind(sentence, retry_after_s=float(retry_after) if retry_after and retry_after.isdigit() else None)


_ERROR_OF_CODE: dict[int, type[errors.FairleadError]] = {
    401: errors.Forbidden,
    403: errors.Forbidden,
    404: errors.NotFound,
    410: _Expired,
    412: errors.Conflict,
    429: errors.RetryLater,
}
