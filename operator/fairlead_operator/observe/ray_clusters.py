"""The Ray clusters that the directory lists, each with one client and one poller for all who ask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fairlead_operator.observe import ray_serve, readers
from fairlead_operator.state import directory, keys


class RayClient(ray_serve.RayReads, Protocol):
    """What is asked of one Ray cluster: the reads, and the one write."""

    async def put_applications(self, body: bytes) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One Ray cluster at one address."""

    url: str
    client: RayClient
    poller: ray_serve.RayPoller
    reading: asyncio.Task[None]


class RayClusters:
    """Asks the directory each time, so that a cluster that comes, goes or moves needs no restart."""

    def __init__(
        self, listed: directory.ClusterDirectory, connect: Callable[[str, str], RayClient], *, readers: readers.Readers
    ) -> None:
        """``connect`` makes the client of a namespace's Ray head at a URL."""
        self._directory = listed
        self._connect = connect
        self._readers = readers
        self._connections: dict[keys.RayKey, Connection] = {}

    @property
    def listed(self) -> directory.ClusterDirectory:
        """Which clusters there are."""
        return self._directory

    def pollers(self, namespace: str) -> Mapping[str, ray_serve.RayPoller]:
        found = {cluster.name: self._at(namespace, cluster).poller for cluster in self._directory.clusters(namespace)}
        for key in [key for key in self._connections if key.namespace == namespace and key.cluster not in found]:
            self._connections.pop(key).reading.cancel()
        return found

    def find(self, key: keys.RayKey) -> Connection | None:
        """None for a cluster that isn't listed."""
        listed = self._directory.clusters(key.namespace)
        return next((self._at(key.namespace, cluster) for cluster in listed if cluster.name == key.cluster), None)

    def put_pause_s(self, key: keys.RayKey) -> float:
        """How long the cluster's next PUT has to wait; 0 for one that isn't listed."""
        found = self.find(key)
        return found.poller.put_pause_s() if found is not None else 0.0

    def _at(self, namespace: str, cluster: directory.Cluster) -> Connection:
        key = keys.RayKey(namespace, cluster.name)
        known = self._connections.get(key)
        if known is not None and known.url == cluster.url:
            return known
        if known is not None:
            known.reading.cancel()
        client = self._connect(namespace, cluster.url)
        poller = ray_serve.RayPoller(client, self._readers, namespace)
        reading = self._readers.start(poller.run())
        made = Connection(url=cluster.url, client=client, poller=poller, reading=reading)
        self._connections[key] = made
        return made
