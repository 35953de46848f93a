"""The route table from the ConfigMap that the operator writes."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client import exceptions

from fairlead_gateway import metrics, routes, watcher

_log = logging.getLogger(__name__)

_RETRY_S = 0.2
_RETRY_MAX_S = 5.0
_REQUEST_TIMEOUT_S = 10.0
_UNREADABLE = (exceptions.ApiException, config.ConfigException, aiohttp.ClientError, OSError, TimeoutError, ValueError)


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
                _log.warning("routes unreadable retry_s=%.1f error=%s", delay_s, _sentence(error))
                await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
                delay_s = min(delay_s * 2, _RETRY_MAX_S)

    async def _list_and_watch(self) -> AsyncIterator[watcher.Data]:
        async with await self._connect() as api_client:
            api = client.CoreV1Api(api_client)
            selector = f"metadata.name={routes.CONFIG_MAP_NAME}"
            listed = await api.list_namespaced_config_map(
                self._namespace, field_selector=selector, _request_timeout=_REQUEST_TIMEOUT_S
            )
            yield dict(listed.items[0].data or {}) if listed.items else {}
            relist_s = self._relist_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, no secret
            response = await api.list_namespaced_config_map_without_preload_content(
                self._namespace,
                field_selector=selector,
                resource_version=listed.metadata.resource_version,
                timeout_seconds=max(1, round(relist_s)),
                watch=True,
                # A connection that died without a word ends at the latest here.
                _request_timeout=relist_s + _REQUEST_TIMEOUT_S,
            )
            async with response:
                async for line in response.content:
                    data = _data_of_event(json.loads(line))
                    if data is None:
                        return
                    yield data

    async def _connect(self) -> Any:
        settings = client.Configuration()
        if self._kubeconfig is None:
            config.load_incluster_config(client_configuration=settings)
        else:
            await config.load_kube_config(config_file=str(self._kubeconfig), client_configuration=settings)
        settings.retries = 0
        return client.ApiClient(settings)


def _data_of_event(event: Mapping[str, Any]) -> watcher.Data | None:
    """The table after a watch event; None when the watch has to begin anew."""
    match event.get("type"):
        case "ADDED" | "MODIFIED":
            return dict(event["object"].get("data") or {})
        case "DELETED":
            return {}
        case _:
            return None


def _sentence(error: BaseException) -> str:
    if isinstance(error, exceptions.ApiException):
        return f"{error.status} {error.reason}"
    return f"{type(error).__name__}: {str(error)[:200]}"
