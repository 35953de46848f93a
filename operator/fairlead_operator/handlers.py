"""Kopf's decorators: a handler takes key and version from an event, and can't fail, block or write."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import kopf

from fairlead_operator.api import names
from fairlead_operator.clients import kubernetes
from fairlead_operator.state import keys


class Notice(Protocol):
    """Who hears of events."""

    def noticed(self, key: keys.ModelKey, resource_version: str) -> None: ...

    def deleted(self, key: keys.ModelKey) -> None: ...


def build_registry(
    notice: Notice, credentials: Callable[[], Awaitable[kubernetes.Credentials]]
) -> kopf.OperatorRegistry:
    """The only things asked of Kopf: log in, and tell what its watch brings."""
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            insecure=found.is_insecure,
            scheme=found.scheme,
            token=found.token,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
        )

    async def model_event(*, type: str | None, namespace: str, name: str, meta: Any, **_: Any) -> None:  # noqa: A002
        key = keys.ModelKey(namespace, name)
        if type == "DELETED":
            notice.deleted(key)
        else:
            notice.noticed(key, meta.get("resourceVersion", ""))

    kopf.on.login(registry=registry)(login)
    kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)(model_event)
    return registry


def build_settings() -> kopf.OperatorSettings:
    """Kopf as an event source and nothing else. Each line: what its default would do."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # peers of one priority all pause; we have a Lease
    settings.posting.enabled = False  # an event for each log line
    settings.scanning.disabled = True  # lists CRDs and namespaces, which our rules don't allow
    settings.networking.request_timeout = 30  # five minutes
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (1, 1, 2, 3, 5, 8, 13, 21, *(30,) * 20)  # gives up, and exits, after 54 s
    settings.networking.enforce_retry_after = True
    # Bookmarks come each 60 s, so silence for 70 s is a dead stream; watches should not all end at the same time.
    settings.watching.server_timeout = 240 + random.randrange(60)  # noqa: S311 - jitter
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = None  # a 410 on a continue token ends the process
    settings.queueing.worker_limit = None  # handlers are trivial, a limit only adds latency
    settings.process.ultimate_exiting_timeout = 20  # ten minutes
    return settings


async def watch(
    registry: kopf.OperatorRegistry, *, namespaces: tuple[str, ...], stop_flag: Any, ready_flag: Any
) -> None:
    """Watch until stopped; returns or raises when Kopf can't go on. No namespaces: all."""
    await kopf.operator(
        registry=registry,
        settings=build_settings(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop_flag,
        ready_flag=ready_flag,
    )
