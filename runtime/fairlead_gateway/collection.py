"""One kind of objects in one namespace: listed, then watched, and listed again every few minutes."""

import asyncio
import importlib
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import aiohttp

_log = logging.getLogger(__name__)

_RETRY_S = 0.2
_RETRY_MAX_S = 5.0
_REQUEST_TIMEOUT_S = 10.0
_PAGE = 500

T = TypeVar("T")
Object = Mapping[str, Any]


class _RefusedError(Exception):
    """The API server answered with something else than what was asked for."""


_UNREADABLE = (_RefusedError, aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError)


class Collection(Generic[T]):
    """The objects at `path` that have the labels of `selector`, each as `read` gives it. `read` raises nothing."""

    def __init__(
        self,
        path: str,
        *,
        read: Callable[[Object], T],
        kubeconfig: Path | None,
        relist_s: float,
        on_error: Callable[[], None],
        selector: str = "",
    ) -> None:
        self._path = path
        self._read = read
        self._kubeconfig = kubeconfig
        self._relist_s = relist_s
        self._on_error = on_error
        self._selector = (("labelSelector", selector),) if selector else ()

    async def follow(self) -> AsyncIterator[Mapping[str, T]]:
        """All objects by name now, and again whenever they may have changed.

        While they can't be read it yields nothing. It never ends and never raises; cancel it to stop.
        """
        delay_s = _RETRY_S
        while True:
            try:
                async for found in self._list_and_watch():
                    delay_s = _RETRY_S
                    yield found
            except _UNREADABLE as error:
                self._on_error()
                kind = type(error).__name__
                _log.warning("unreadable path=%s retry_s=%.1f error=%s: %s", self._path, delay_s, kind, error)
                await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter, no secret
                delay_s = min(delay_s * 2, _RETRY_MAX_S)

    async def _list_and_watch(self) -> AsyncIterator[Mapping[str, T]]:
        async with await self._connect() as api:
            found, version = await self._list(api)
            yield dict(found)
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
                    # All that came together is one change.
                    if not all(self._apply(json.loads(line), found) for line in lines):
                        return
                    yield dict(found)

    async def _list(self, api: Any) -> tuple[dict[str, T], str]:
        """The objects by name, and the version that they are of."""
        found: dict[str, T] = {}
        token = ""
        while True:
            page = (("limit", str(_PAGE)), *((("continue", token),) if token else ()))
            async with await self._get(api, *page, timeout_s=_REQUEST_TIMEOUT_S) as answer:
                listed = json.loads(await answer.read())
            for item in listed["items"]:
                found[item["metadata"]["name"]] = self._read(item)
            token = listed["metadata"].get("continue") or ""
            if not token:
                return found, listed["metadata"]["resourceVersion"]

    async def _get(self, api: Any, *query: tuple[str, str], timeout_s: float) -> aiohttp.ClientResponse:
        request = await api.param_serialize(
            "GET",
            self._path,
            query_params=[*self._selector, *query],
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer: aiohttp.ClientResponse = (await api.call_api(*request, _request_timeout=timeout_s)).response
        if answer.status != 200:
            answer.release()
            raise _RefusedError(f"{answer.status} {answer.reason}")
        return answer

    async def _connect(self) -> Any:
        connection = await asyncio.to_thread(importlib.import_module, "fairlead_gateway.kubernetes_connection")
        settings = await connection.load_configuration(self._kubeconfig)
        return await asyncio.to_thread(connection.make_client, settings)

    def _apply(self, event: Mapping[str, Any], found: dict[str, T]) -> bool:
        """Apply a watch event; False when the watch has to start again with a list."""
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                found[event["object"]["metadata"]["name"]] = self._read(event["object"])
            case "DELETED":
                found.pop(event["object"]["metadata"]["name"], None)
            case _:
                return False
        return True


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The stream's whole lines, those that came together at a time."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if whole:
            yield whole
