"""A collection of Kubernetes objects as a list and a watch keep it, with our own writes in it at once.

It never goes back: an object is replaced by a newer version alone, whether a watch, a list or the answer to a write
brings it. ``resourceVersion``s of one resource may be compared as numbers since Kubernetes 1.35.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.clients.clock import Clock

RETRY_FIRST_S = 1.0
RETRY_MAX_S = 30.0
OUT_OF_TOUCH_S = 90.0
"""Bookmarks come each minute: without one the stream is dead."""
TOMBSTONES_MAX = 4096

T = TypeVar("T")

log = logging.getLogger(__name__)


class WatchApi(Protocol):
    """What of the Kubernetes client a reflector needs."""

    async def list_all(
        self, path: str, *, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> tuple[list[kubernetes.Object], str]: ...

    def watch(
        self, path: str, *, resource_version: str, selector: kubernetes.Selector = kubernetes.EVERYTHING
    ) -> AsyncIterator[kubernetes.Object]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    path: str
    selector: kubernetes.Selector = kubernetes.EVERYTHING


def name_of(body: Mapping[str, Any]) -> str:
    """What an object of a single namespace is kept under."""
    return str(body["metadata"]["name"])


def qualified_name_of(body: Mapping[str, Any]) -> str:
    """``NAMESPACE/NAME``, under which an object of a collection over all namespaces is kept."""
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


@dataclass(frozen=True, slots=True)
class _Stored(Generic[T]):
    version: int
    value: T


class Reflector(Generic[T]):
    """``view`` makes a value of an object, None where it is not to be kept."""

    def __init__(
        self,
        api: WatchApi,
        collection: Collection,
        view: Callable[[Mapping[str, Any]], T | None],
        *,
        clock: Clock,
        on_change: Callable[[str], None],
        key_of: Callable[[Mapping[str, Any]], str] = name_of,
    ) -> None:
        """``on_change`` gets the key of each object that changed, and is called with "" when a list is complete.

        ``key_of`` says what an object is kept under.
        """
        self._api = api
        self._collection = collection
        self._view = view
        self._clock = clock
        self._on_change = on_change
        self._key_of = key_of
        self._stored: dict[str, _Stored[T]] = {}
        self._values: dict[str, T] = {}
        self._deleted: dict[str, None] = {}
        self._in_touch_at_s: float | None = None
        self._error: errors.FairleadError | None = None

    @property
    def is_listed(self) -> bool:
        return self._in_touch_at_s is not None

    @property
    def error(self) -> errors.FairleadError | None:
        """Why nothing is known: it was never listed, or nothing has come for long."""
        if self._in_touch_at_s is None:
            return self._error
        silent_s = self._clock.monotonic_s() - self._in_touch_at_s
        if silent_s <= OUT_OF_TOUCH_S:
            return None
        words = f"no answer for {silent_s:.0f} s"
        return self._error or errors.Unreachable(f"API server: {self._collection.path}: {words}", cause=words)

    def get(self, name: str) -> T | None:
        found = self._stored.get(name)
        return found.value if found is not None else None

    @property
    def values(self) -> Mapping[str, T]:
        """By name, as they are at any time: no copy."""
        return self._values

    def wrote(self, body: Mapping[str, Any]) -> None:
        """The answer to a write of ours: it is there from now on, whatever an older list says."""
        self._keep(body)

    def removed(self, name: str, uid: str) -> None:
        """We deleted this object."""
        self._deleted[uid] = None
        if len(self._deleted) > TOMBSTONES_MAX:
            del self._deleted[next(iter(self._deleted))]
        if self._stored.pop(name, None) is not None:
            del self._values[name]
            self._on_change(name)

    async def run(self) -> None:
        """List and watch for ever; what fails is tried again after a growing delay."""
        delay_s = RETRY_FIRST_S
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list()
                    delay_s = RETRY_FIRST_S
                version = await self._watch(version)
                delay_s = RETRY_FIRST_S
            except errors.FairleadError as error:
                is_news = self._error is None or str(self._error) != str(error)
                self._error = error
                is_lost = isinstance(error, errors.NotFound | errors.Forbidden | errors.Refused | errors.Expired)
                # Silent for long: where an API server sends no bookmarks, only a list says that all is well.
                if is_lost or self.error is not None:
                    version = None
                log.log(
                    logging.WARNING if is_news and not isinstance(error, errors.Expired) else logging.DEBUG,
                    "a watch ended",
                    extra={"path": self._collection.path, "error": str(error), "retry_s": delay_s},
                )
            except Exception:
                # An outermost loop: a bug that one object meets must not end the watching of all others.
                log.exception("a watch ended unexpectedly", extra={"path": self._collection.path})
                version = None
            else:
                continue
            await asyncio.sleep(delay_s * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
            delay_s = min(RETRY_MAX_S, 2 * delay_s)

    async def _list(self) -> str:
        began = {name: stored.version for name, stored in self._stored.items()}
        bodies, version = await self._api.list_all(
            self._collection.path,
            selector=self._collection.selector,
        )
        listed = {self._key_of(body) for body in bodies}
        for body in bodies:
            self._keep(body)
        for name in [name for name, known in began.items() if name not in listed and known <= _number(version)]:
            stored = self._stored.get(name)
            if stored is not None and stored.version == began[name]:
                del self._stored[name], self._values[name]
                self._on_change(name)
        self._touch()
        self._on_change("")
        return version

    async def _watch(self, version: str) -> str:
        """The version to go on from, when the stream ended in peace."""
        stream = self._api.watch(
            self._collection.path,
            resource_version=version,
            selector=self._collection.selector,
        )
        async for event in stream:
            self._touch()
            body = event.get("object") or {}
            if event.get("type") == "ERROR":
                raise errors.Expired(f"API server: watch of {self._collection.path}: {body.get('message', '')}")
            version = body["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                self._drop(body)
            elif event["type"] != "BOOKMARK":
                self._keep(body)
        return version

    def _touch(self) -> None:
        self._in_touch_at_s = self._clock.monotonic_s()
        self._error = None

    def _keep(self, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        name, version = self._key_of(body), _number(metadata["resourceVersion"])
        stored = self._stored.get(name)
        if metadata.get("uid") in self._deleted or (stored is not None and stored.version >= version):
            return
        value = self._view(body)
        if value is None:
            return
        self._stored[name] = _Stored(version, value)
        self._values[name] = value
        if stored is None or stored.value != value:
            self._on_change(name)

    def _drop(self, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        self._deleted.pop(metadata.get("uid"), None)
        name = self._key_of(body)
        stored = self._stored.get(name)
        if stored is not None and stored.version <= _number(metadata["resourceVersion"]):
            del self._stored[name], self._values[name]
            self._on_change(name)


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0
