"""Namespaces whose last model is gone are read no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.hand_clock import HandClock

from fairlead_operator import namespaces
from fairlead_operator.clients import errors
from fairlead_operator.observe import cluster, gateway, ray_clusters, readers
from fairlead_operator.state import directory

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]


class Api:
    """Refuses everything, as where a namespace went with the operator's rights in it."""

    def __init__(self) -> None:
        self.lists: dict[str, int] = {}

    async def list_all(self, path: str, **_: Any) -> tuple[list[dict[str, Any]], str]:
        self.lists[path] = self.lists.get(path, 0) + 1
        raise errors.Forbidden("403")

    async def watch(self, _path: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        raise AssertionError("nothing was listed")
        yield {}


async def test_the_reads_of_a_namespace_end_with_its_last_model_and_begin_with_its_next() -> None:
    api: Any = Api()
    shared = readers.Readers(clock=HandClock())
    clusters = ray_clusters.RayClusters(directory.StaticClusters({}), lambda _: None, readers=shared)  # type: ignore[arg-type,return-value]

    def make(namespace: str) -> cluster.NamespaceView:
        none: Any = directory.StaticGateways({})
        poller = gateway.GatewaysPoller(none, none, namespace, shared)
        return cluster.NamespaceView(namespace, api=api, ray=clusters, gateways=poller, readers=shared)

    kept = namespaces.Namespaces(make)
    first, other = kept.get("gone"), kept.get("kept")
    assert kept.get("gone") is first
    await asyncio.sleep(100)
    kept.keep_only({"kept"})
    await asyncio.sleep(1)
    before = dict(api.lists)
    await asyncio.sleep(300)
    grown = {path for path, count in api.lists.items() if count > before[path]}
    assert grown
    assert all("/namespaces/kept/" in path for path in grown), grown
    assert kept.get("kept") is other
    assert kept.get("gone") is not first
    await asyncio.sleep(1)
    assert any("/namespaces/gone/" in path and count > before[path] for path, count in api.lists.items())
    kept.keep_only(set())
