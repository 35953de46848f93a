"""The route table from the ConfigMap that the operator writes.

The client's typed models are not used: for one ConfigMap they would cost two seconds of processor time and fifty
megabytes at the first call. Its configuration (kubeconfig, service account, tokens that are renewed) is.
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

from fairlead_gateway import metrics, routes, watcher

_log = logging.getLogger(__name__)

_RETRY_S = 0.2
_RETRY_MAX_S = 5.0
_REQUEST_TIMEOUT_S = 10.0
_SELECTOR = ("fieldSelector", f"metadata.name={routes.CONFIG_MAP_NAME}")


class _RefusedError(Exception):
    """The API server answered with something else than what was asked for."""


_UNREADABLE = (_RefusedError, config.ConfigException, aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError)


class ConfigMapSource:
    """The ConfigMap `fairlead-routes`: listed, then watched; listed anew at least every `relist_s`."""

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
            answer = await self._get(api, _SELECTOR, timeout_s=_REQUEST_TIMEOUT_S)
            async with answer:
                listed = json.loads(await answer.read())
            items, version = listed["items"], listed["metadata"]["resourceVersion"]
            yield dict(items[0].get("data") or {}) if items else {}
            relist_s = self._relist_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
            answer = await self._get(
                api,
                _SELECTOR,
                ("watch", "true"),
                ("resourceVersion", version),
                ("timeoutSeconds", str(max(1, round(relist_s)))),
                # A connection that died without a word ends at the latest here.
                timeout_s=relist_s + _REQUEST_TIMEOUT_S,
            )
            async with answer:
                async for line in _lines(answer.content):
                    data = _data_of_event(json.loads(line))
                    if data is None:
                        return
                    yield data

    async def _get(self, api: Any, *query: tuple[str, str], timeout_s: float) -> aiohttp.ClientResponse:
        request = await api.param_serialize(
            "GET",
            f"/api/v1/namespaces/{self._namespace}/configmaps",
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


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The stream's lines, however long: its own iteration ends at 128 KiB, and a table of many models is longer."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        for line in whole:
            yield line


def _data_of_event(event: Mapping[str, Any]) -> watcher.Data | None:
    """The table after a watch event; None when the watch has to begin anew."""
    match event.get("type"):
        case "ADDED" | "MODIFIED":
            return dict(event["object"].get("data") or {})
        case "DELETED":
            return {}
        case _:
            return None
