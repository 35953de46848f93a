"""Routes from the ModelRoute objects that the operator writes.

The client's typed models are not used: they would cost two seconds of processor time and fifty megabytes at the first
call. Its configuration (kubeconfig, service account, tokens that are renewed) is.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from fairlead_gateway import metrics, watcher

_log = logging.getLogger(__name__)

_RETRY_S = 0.2
_RETRY_MAX_S = 5.0
_REQUEST_TIMEOUT_S = 10.0
_PAGE = 500
_PATH = "/apis/fairlead.dev/v1alpha1/namespaces/{namespace}/modelroutes"


class _RefusedError(Exception):
    """The API server answered with something else than what was asked for."""


_UNREADABLE = (_RefusedError, config.ConfigException, aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError)


class ModelRouteSource:
    """The namespace's ModelRoutes: listed, then watched, and listed again at least every `relist_s` seconds."""

    def __init__(self, *, kubeconfig: Path | None, namespace: str, relist_s: float, metrics_: metrics.Metrics) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._relist_s = relist_s
        self._metrics = metrics_

    async def follow(self) -> AsyncIterator[watcher.Data]:
        delay_s = _RETRY_S
        while True:
            try:
                async for data in self._list_and_watch():
                    delay_s = _RETRY_S
                    yield data
            except _UNREADABLE as error:
                self._metrics.count_source_error()
                _log.warning("routes unreadable retry_s=%.1f error=%s: %s", delay_s, type(error).__name__, error)
                await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
                delay_s = min(delay_s * 2, _RETRY_MAX_S)

    async def _list_and_watch(self) -> AsyncIterator[watcher.Data]:
        async with await self._connect() as api:
            specs, version = await self._list(api)
            yield dict(specs)
            relist_s = self._relist_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
            answer = await self._get(
                api,
                ("watch", "true"),
                ("resourceVersion", version),
                ("timeoutSeconds", str(max(1, round(relist_s)))),
                # A connection that died without a word ends at the latest here.
                timeout_s=relist_s + _REQUEST_TIMEOUT_S,
            )
            async with answer:
                async for lines in _lines(answer.content):
                    # All that came together is one table.
                    if not all(_apply(json.loads(line), specs) for line in lines):
                        return
                    yield dict(specs)

    async def _list(self, api: Any) -> tuple[dict[str, str], str]:
        """The specs by model, and the version that they are of."""
        specs: dict[str, str] = {}
        token = ""
        while True:
            page = (("limit", str(_PAGE)), *((("continue", token),) if token else ()))
            async with await self._get(api, *page, timeout_s=_REQUEST_TIMEOUT_S) as answer:
                listed = json.loads(await answer.read())
            for item in listed["items"]:
                specs[item["metadata"]["name"]] = json.dumps(item.get("spec"))
            token = listed["metadata"].get("continue") or ""
            if not token:
                return specs, listed["metadata"]["resourceVersion"]

    async def _get(self, api: Any, *query: tuple[str, str], timeout_s: float) -> aiohttp.ClientResponse:
        request = await api.param_serialize(
            "GET",
            _PATH.format(namespace=self._namespace),
            query_params=list(query),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer: aiohttp.ClientResponse = (await api.call_api(*request, _request_timeout=timeout_s)).response
        if answer.status != 200:
            answer.release()
            raise _RefusedError(f"{answer.status} {answer.reason}")
        return answer

    async def _connect(self) -> Any:
        settings = client.Configuration()
        if self._kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)
        else:
            await config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=settings)
        # Reading the certificates takes a tenth of a second of processor time.
        return await asyncio.to_thread(client.ApiClient, settings)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The stream's whole lines, those that came together at a time."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if whole:
            yield whole


def _apply(event: Mapping[str, Any], specs: dict[str, str]) -> bool:
    """Apply a watch event; False when the watch has to start again with a list."""
    match event.get("type"):
        case "ADDED" | "MODIFIED":
            specs[event["object"]["metadata"]["name"]] = json.dumps(event["object"].get("spec"))
        case "DELETED":
            specs.pop(event["object"]["metadata"]["name"], None)
        case _:
            return False
    return True
