"""What is known of a Ray cluster: its applications, or an empty answer that proves nothing yet, or nothing."""

from __future__ import annotations

import math
from typing import Protocol

from fairlead_operator.clients import errors, ray_serve
from fairlead_operator.observe import readers, shared, source
from fairlead_operator.state import capacity, knowledge, serve

WRITE_MESSAGE_MAX = 512
PUT_PAUSE_RATIO = 8.0
PUT_PAUSE_MAX_S = 5.0
"""Each PUT carries every application of the cluster: the larger it is, the more changes it should carry."""


class RayReads(Protocol):
    @property
    def parse_s(self) -> float: ...

    async def fetch_instance(self) -> ray_serve.Instance: ...

    async def fetch_session(self) -> str: ...

    async def fetch_capacity(self, *, now_s: float) -> capacity.Capacity: ...


class RayPoller:
    """Reads one Ray cluster in the background and counts how often in a row it called itself empty.

    The count lives only here: it is evidence about the present, never intent, and starts again with the process.
    """

    def __init__(self, reads: RayReads, readers: readers.Readers, namespace: str) -> None:
        self._reads = reads
        self._clock = readers.clock
        self._readers = readers
        self._namespace = namespace
        self._source = readers.make_source(namespace, self._read, _is_same, cost_s=lambda: reads.parse_s)
        self._capacity = shared.SharedRead(self._read_capacity, clock=self._clock)
        self._controller_id: str | None = None
        self._session: str | None = None
        self._empty: serve.EmptyServe | None = None
        self._empty_since_s = 0.0
        self._last_session: str | None = None
        self._no_put_before_s = float("-inf")
        self.last_write: serve.RayWrite | None = None
        """How the last pass over the cluster ended."""
        self.run = self._source.run
        self.read_once = self._source.read_once
        self.hurry = self._source.hurry

    def last(self) -> serve.RayEvidence | source.Pending:
        """The last answer, which may lack our last write: a model sees that its application is not yet as wanted."""
        return _evidence(self._source.last())

    def latest(self) -> serve.RayEvidence | source.Pending:
        """The last answer that has our last write in it; Unknown where it says nothing about now."""
        return _evidence(self._source.latest())

    def refresh(self) -> None:
        """Only an answer to a request that begins from now on counts."""
        self._source.expire()

    def age_s(self) -> float:
        """How long ago the request of the last answer began; infinite where there is none."""
        answer = self._source.latest()
        return self._clock.monotonic_s() - answer.began_at_s if isinstance(answer, source.Answer) else math.inf

    async def free(self, max_age_s: float) -> knowledge.Known[capacity.Capacity] | knowledge.Unknown:
        """What is free; Unknown also where an autoscaler may add to it."""
        return await self._capacity.get(max_age_s)

    def report(self, kind: serve.RayWriteKind, message: str = "") -> None:
        """A pass over the cluster has ended so: the models learn why they wait."""
        before = self.last_write
        if before is not None and (before.kind, before.message) == (kind, message):
            return
        is_new = before is None or before.is_accepted != (kind in (serve.RayWriteKind.KEPT, serve.RayWriteKind.PUT))
        since = self._clock.now() if before is None or before.kind is not kind else before.since
        self.last_write = serve.RayWrite(kind=kind, message=message[:WRITE_MESSAGE_MAX], since=since)
        if is_new:
            self._readers.on_answer(self._namespace)

    async def _read_capacity(self) -> knowledge.Known[capacity.Capacity] | knowledge.Unknown:
        try:
            found = await self._reads.fetch_capacity(now_s=self._clock.now().timestamp())
        except errors.FairleadError as error:
            return knowledge.Unknown(error.cause)
        return knowledge.Known(found)

    def put_pause_s(self) -> float:
        """How long to wait before the next PUT: what changes meanwhile goes out together."""
        return max(0.0, self._no_put_before_s - self._clock.monotonic_s())

    def invalidate(self, *, put_s: float = 0.0) -> None:
        """A write went to this cluster, and took so long: earlier answers say nothing of it."""
        pause_s = min(PUT_PAUSE_MAX_S, PUT_PAUSE_RATIO * (put_s + self._reads.parse_s))
        self._no_put_before_s = self._clock.monotonic_s() + pause_s
        self._source.expire()
        self._empty = None

    async def _read(self) -> serve.RayEvidence:
        try:
            instance = await self._reads.fetch_instance()
            session = await self._session_of(instance.controller_id)
        except errors.FairleadError as error:
            self._session, self._empty = None, None
            return knowledge.Unknown(error.cause)
        if instance.controller_id is not None:
            self._empty, self._last_session = None, session
            return knowledge.Known(serve.ServeView(session=session, applications=instance.applications))
        if instance.applications:
            self._empty = None
            return knowledge.Unknown("it lists applications but no Serve controller")
        reads = self._empty.consecutive_reads if self._empty is not None and self._empty.session == session else 0
        now_s = self._clock.monotonic_s()
        if reads == 0:
            self._empty_since_s = now_s
        self._empty = serve.EmptyServe(
            session=session,
            consecutive_reads=reads + 1,
            seconds=now_s - self._empty_since_s,
            last_session=self._last_session,
        )
        return self._empty

    async def _session_of(self, controller_id: str | None) -> str:
        """Asked again only when it can have changed: a new head has a new controller, and none at first."""
        if self._session is None or controller_id is None or controller_id != self._controller_id:
            self._session = await self._reads.fetch_session()
        self._controller_id = controller_id
        return self._session


def _evidence(
    answer: source.Answer[serve.RayEvidence] | source.Pending | source.TooOld,
) -> serve.RayEvidence | source.Pending:
    match answer:
        case source.Answer(value=value):
            return value
        case source.TooOld(reason=reason):
            return knowledge.Unknown(reason)
        case source.Pending() as pending:
            return pending


def _is_same(before: serve.RayEvidence, now: serve.RayEvidence) -> bool:
    """One more empty answer of the same head changes nothing."""
    if isinstance(before, serve.EmptyServe) and isinstance(now, serve.EmptyServe):
        return before.session == now.session
    if isinstance(before, knowledge.Known) and isinstance(now, knowledge.Known):
        is_same_head = before.value.session == now.value.session
        return is_same_head and source.is_same(before.value.applications, now.value.applications)
    return before == now
