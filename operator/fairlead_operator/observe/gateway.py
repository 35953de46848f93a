"""What is known of a namespace's gateways: each member by itself."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fairlead_operator.clients import errors
from fairlead_operator.observe import readers, source
from fairlead_operator.state import directory, gateways, knowledge, route

View = knowledge.Known[route.GatewayView] | knowledge.Unknown
GatewaysEvidence = knowledge.Known[gateways.Gateways] | knowledge.Absent | knowledge.Unknown


class GatewayReads(Protocol):
    async def fetch_view(self, admin_url: str) -> route.GatewayView: ...

    def parse_s(self, admin_url: str) -> float: ...

    async def wait_for_change(self, admin_url: str, *, since: str | None, wait_s: float) -> str: ...


@dataclass(frozen=True, slots=True)
class _Reader:
    source: source.Source[View]
    reading: asyncio.Task[None]


class GatewaysPoller:
    """Reads every gateway that the directory lists for a namespace, each by itself.

    One that can't be read is Unknown by itself: it may still route the old way, and the others are known all the same.
    """

    def __init__(
        self, reads: GatewayReads, listed: directory.GatewayDirectory, namespace: str, readers: readers.Readers
    ) -> None:
        self._reads = reads
        self._directory = listed
        self._namespace = namespace
        self._readers = readers
        self.on_replicas: Callable[[], None] = lambda: None
        """Is called when the Ray nodes list another number of replicas than before."""
        self._by_url: dict[str, _Reader] = {}
        self._silent_since_s: dict[str, float] = {}
        self._versions: dict[str, str] = {}
        self._replicas: dict[str, int] = {}

    def latest(self) -> GatewaysEvidence | source.Pending:
        """The last answer of each member."""
        listed = self._directory.members(self._namespace)
        if not isinstance(listed, knowledge.Known):
            return listed
        self._drop_all_but({member.admin_url for member in listed.value})
        members = []
        for member in listed.value:
            view = self._view(member)
            if isinstance(view, source.Pending):
                return view
            if not self._is_gone(member, view):
                members.append(gateways.GatewaySeen(name=member.name, state=member.state, view=view))
        return knowledge.Known(gateways.Gateways(members=tuple(members)))

    def hurry(self) -> None:
        """Somebody begins to wait for a change."""
        for reader in self._by_url.values():
            reader.source.hurry()

    def stop(self) -> None:
        """End the reading."""
        self._drop_all_but(set())

    def _view(self, member: directory.Gateway) -> View | source.Pending:
        if member.admin_url not in self._by_url:
            made = self._readers.make_source(
                self._namespace,
                functools.partial(self._read, member.admin_url),
                self._is_same,
                cost_s=functools.partial(self._reads.parse_s, member.admin_url),
            )
            made.await_change = functools.partial(self._await_change, member.admin_url)
            self._by_url[member.admin_url] = _Reader(made, self._readers.start(made.run()))
        match self._by_url[member.admin_url].source.latest():
            case source.Answer(value=value):
                return value
            case source.TooOld(reason=reason):
                return knowledge.Unknown(reason)
            case source.Pending() as pending:
                return pending

    def _is_gone(self, member: directory.Gateway, view: View) -> bool:
        """Whether a gateway that is not ready has been silent for so long that it has no client left.

        The count lives only here, and starts again with the process.
        """
        if member.state is gateways.MemberState.READY or isinstance(view, knowledge.Known):
            self._silent_since_s.pop(member.admin_url, None)
            return False
        now_s = self._readers.clock.monotonic_s()
        return now_s - self._silent_since_s.setdefault(member.admin_url, now_s) > gateways.SILENT_MAX_S

    def _drop_all_but(self, listed: set[str]) -> None:
        for url in [url for url in self._by_url if url not in listed]:
            self._by_url.pop(url).reading.cancel()
            self._versions.pop(url, None)
            self._silent_since_s.pop(url, None)
            self._replicas.pop(url, None)

    async def _read(self, admin_url: str) -> View:
        try:
            view = await self._reads.fetch_view(admin_url)
            if view.replicas != self._replicas.get(admin_url, view.replicas):
                self.on_replicas()
            self._replicas[admin_url] = view.replicas
            return knowledge.Known(view)
        except errors.FairleadError as error:
            return knowledge.Unknown(error.cause)

    async def _await_change(self, admin_url: str, wait_s: float) -> bool:
        """What changed between the last read and this question is heard of at once: the version is of before."""
        since = self._versions.get(admin_url)
        version = await self._reads.wait_for_change(admin_url, since=since, wait_s=wait_s)
        self._versions[admin_url] = version
        return since is not None and version != since

    def _is_same(self, before: View, now: View) -> bool:
        """Requests in flight count only while a model here may wait for their end."""
        if not (isinstance(before, knowledge.Known) and isinstance(now, knowledge.Known)):
            return before == now
        if before.value is now.value:
            return True
        return _is_same_view(before.value, now.value, self._readers.is_hot(self._namespace))


def live(entry: route.RouteLive | None, is_hot: bool) -> object:
    """What is live of a model, with nothing in it that changes all the time."""
    if entry is None:
        return None
    revisions = entry.revisions.items()
    seen = sorted((name, one.up, one.draining, is_hot and one.sessions > 0) for name, one in revisions)
    hold = (entry.hold.waiting > 0, entry.hold.is_idle) if entry.hold is not None else None
    return (entry.version, entry.is_retired, seen, hold)


def _is_same_view(one: route.GatewayView, other: route.GatewayView, is_hot: bool) -> bool:
    """The client returns the same object for an unchanged route, so only changed routes are compared."""
    if (one.id, one.errors, one.failure, one.connections == 0) != (
        other.id,
        other.errors,
        other.failure,
        other.connections == 0,
    ):
        return False
    if one.routes.keys() != other.routes.keys():
        return False
    differing = (
        (entry, other.routes[model]) for model, entry in one.routes.items() if entry is not other.routes[model]
    )
    return all(live(before, is_hot) == live(now, is_hot) for before, now in differing)
