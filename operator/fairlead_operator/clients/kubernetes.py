"""The Kubernetes API as JSON; credentials and TLS are the official asyncio client's.

Objects stay plain mappings here: the generated models would be built and thrown away for each of a thousand objects,
and would drop fields that they do not know.
"""

from __future__ import annotations

import json
import random
import urllib.parse
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from kubernetes.aio.client import rest

from fairlead_operator.clients import errors, http
from fairlead_operator.clients.clock import Clock

Object = dict[str, Any]

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 256 * 1024 * 1024
"""A page of PAGE_LIMIT objects; etcd keeps none that is larger than some 1.5 MiB, and most are a few kilobytes."""
PAGE_LIMIT = 500
LIST_TRIES = 3
WATCH_S = 240
SILENCE_S = 90.0
"""A watch that is silent for longer than it takes to bring a bookmark is dead."""
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


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
    return configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which objects of a collection are meant, in the API server's own syntax; None: all.

    With ``fields`` of ``metadata.name=NAME`` a rule that is limited to that name allows lists and watches, too.
    """

    labels: str | None = None
    fields: str | None = None

    def query(self) -> dict[str, str]:
        """The parameters of a request."""
        given = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in given.items() if value is not None}


EVERYTHING = Selector()


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

    def __init__(
        self,
        configuration: aio_client.Configuration,
        *,
        clock: Clock,
        on_request: http.OnRequest,
        lease: http.Lease | None = None,
        connections: int = http.CONNECTIONS_PER_HOST,
    ) -> None:
        """``lease`` limits the writes, ``connections`` what is under way at a time (``http.HttpClient``)."""
        self._configuration = configuration
        transport = rest.RESTClientObject(configuration)
        route = http.Route(
            tls=transport.ssl_context, server_hostname=configuration.tls_server_name, proxy=transport.proxy
        )
        self._http = http.HttpClient(clock=clock, route=route, lease=lease, connections=connections)
        self._on_request = on_request

    async def close(self) -> None:
        await self._http.close()

    @property
    def writes_under_way(self) -> int:
        return self._http.writes_under_way

    async def get(self, path: str) -> Object:
        """The object as the quorum has it (no resourceVersion is sent, so no cache may answer)."""
        return await self._request("GET", path)

    async def list_all(self, path: str, *, selector: Selector = EVERYTHING) -> tuple[list[Object], str]:
        """Every object of a collection, page by page, and the collection's resourceVersion; consistent reads only.

        A continue token that has expired (410) starts the list again, so that two ages are never mixed.

        Raises:
            errors.Expired: That happened ``LIST_TRIES`` times.
        """
        for left in reversed(range(LIST_TRIES)):
            try:
                items: list[Object] = []
                version = ""
                async for page in self.list_pages(path, selector=selector):
                    items += page.get("items") or []
                    version = (page.get("metadata") or {}).get("resourceVersion", "")
                return items, version
            except errors.Expired:
                if left == 0:
                    raise
        raise AssertionError("unreachable")

    async def watch(
        self, path: str, *, resource_version: str, selector: Selector = EVERYTHING
    ) -> AsyncIterator[Object]:
        """The changes of a collection after a version, for some minutes; bookmarks keep the version young.

        Raises:
            errors.Expired: The version is too old.
            errors.FairleadError: The stream can't be had, was cut or fell silent.
        """
        query = {
            **selector.query(),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(WATCH_S + random.randrange(WATCH_S // 4)),  # noqa: S311 - jitter
        }
        url = f"{self._configuration.host}{path}?{urllib.parse.urlencode(query)}"
        headers = await self._headers(JSON)
        request = http.Request(
            method="GET", url=url, headers=headers, timeout_s=SILENCE_S, answer_bytes_max=ANSWER_BYTES_MAX, verb="WATCH"
        )
        what = f"watch {path}"
        lines = self._http.stream_lines(
            request, who="API server", on_request=self._on_request, check=lambda answer: _parse(what, answer)
        )
        async for line in lines:
            yield _event(what, line)

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

    async def delete(self, path: str, *, uid: str, resource_version: str | None = None) -> None:
        """Delete the object of this uid, and version where one is given; gone, or another one, is fine."""
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        try:
            await self._request("DELETE", path, body=body)
        except (errors.NotFound, errors.Conflict):
            return

    async def list_pages(self, path: str, *, selector: Selector = EVERYTHING) -> AsyncIterator[Object]:
        """The pages of a consistent list; Expired where the next one can't be had any more."""
        query = {**selector.query(), "limit": str(PAGE_LIMIT)}
        while True:
            page = await self._request("GET", path, query=query, verb="LIST")
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def _headers(self, content_type: str) -> dict[str, str]:
        headers = {"Content-Type": content_type, "Accept": JSON}
        for setting in (await self._configuration.auth_settings()).values():
            headers[setting["key"]] = setting["value"]
        return headers

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
        request = http.Request(
            method=method,
            url=url,
            headers=await self._headers(content_type),
            body=None if body is None else _compact(body),
            timeout_s=TIMEOUT_S,
            answer_bytes_max=ANSWER_BYTES_MAX,
            verb=verb,
        )
        answer = await self._http.send(request, who="API server", on_request=self._on_request)
        return _parse(f"{method} {path}", answer)


def _compact(body: Any) -> bytes:
    """JSON as the API server would write it.

    A ControllerRevision's ``data`` is kept byte by byte and is immutable, and a later patch of an annotation writes it
    again without spaces: with spaces it would differ, and be refused.
    """
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _event(what: str, line: bytes) -> Object:
    try:
        event = orjson.loads(line)
    except ValueError as error:
        raise errors.Unreachable(f"API server: {what}: a line is not whole JSON") from error
    if not isinstance(event, dict):
        raise errors.Unreachable(f"API server: {what}: an event is not an object")
    return event


def _parse(what: str, answer: http.Answer) -> Object:
    if answer.code < 400:
        try:
            document = orjson.loads(answer.body) if answer.body else {}
        except ValueError as error:
            words = "the answer is not whole JSON"
            raise errors.Unreachable(f"API server: {what}: {words}", cause=words) from error
        if isinstance(document, dict):
            return document
        words = "the answer is not an object"
        raise errors.Unreachable(f"API server: {what}: {words}", cause=words)
    try:
        status = orjson.loads(answer.body)
    except ValueError:
        status = {}
    reason, message = (status.get(key, "") if isinstance(status, dict) else "" for key in ("reason", "message"))
    cause = f"{answer.code} {reason}: {message or answer.excerpt()}"
    sentence = f"API server: {what}: {cause}"
    if answer.code == 409:
        raise (errors.AlreadyExists if reason == "AlreadyExists" else errors.Conflict)(sentence, cause=cause)
    if isinstance(status, dict) and _is_namespace_ending(answer.code, status.get("details")):
        raise errors.NamespaceEnding(sentence, cause=cause)
    kind = _ERROR_OF_CODE.get(answer.code, errors.Unreachable if answer.code >= 500 else errors.Refused)
    wait = answer.headers.get("Retry-After", "")
    raise kind(sentence, cause=cause, retry_after_s=float(wait) if wait.isdigit() else None)


def _is_namespace_ending(code: int, details: Any) -> bool:
    """Source: plugin/pkg/admission/namespace/lifecycle of Kubernetes, which refuses what is created."""
    if not isinstance(details, dict):
        return False
    if code == 404:
        return details.get("kind") == "namespaces"
    causes = details.get("causes") or []
    return code == 403 and any(isinstance(one, dict) and one.get("reason") == "NamespaceTerminating" for one in causes)


_ERROR_OF_CODE: dict[int, type[errors.FairleadError]] = {
    401: errors.Forbidden,
    403: errors.Forbidden,
    404: errors.NotFound,
    410: errors.Expired,
    412: errors.Conflict,
    429: errors.RetryLater,
}
