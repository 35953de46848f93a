"""What is known of a Ray cluster: its applications, or an empty answer that proves nothing yet, or nothing."""

from __future__ import annotations

from typing import Protocol

from fairlead_operator.clients import errors, ray_serve
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import shared
from fairlead_operator.state import capacity, knowledge, serve


class RayReads(Protocol):
    async def fetch_instance(self) -> ray_serve.Instance: ...

    async def fetch_session(self) -> str: ...

    async def fetch_capacity(self, *, now_s: float) -> capacity.Capacity: ...


class RayPoller:
    """Reads one Ray cluster on demand and counts how often in a row it called itself empty.

    The count lives only here: it is evidence about the present, never intent, and starts again with the process.
    """

    def __init__(self, reads: RayReads, *, clock: Clock) -> None:
        self._reads = reads
        self._shared = shared.SharedRead(self._read, clock=clock)
        self._capacity = shared.SharedRead(self._read_capacity, clock=clock)
        self._clock = clock
        self._controller_id: str | None = None
        self._session: str | None = None
        self._empty: serve.EmptyServe | None = None
        self._empty_since_s = 0.0
        self._last_session: str | None = None

    async def evidence(self, max_age_s: float) -> serve.RayEvidence:
        return await self._shared.get(max_age_s)

    async def free(self, max_age_s: float) -> knowledge.Known[capacity.Capacity] | knowledge.Unknown:
        """What is free; Unknown also where an autoscaler may add to it."""
        return await self._capacity.get(max_age_s)

    async def _read_capacity(self) -> knowledge.Known[capacity.Capacity] | knowledge.Unknown:
        try:
            found = await self._reads.fetch_capacity(now_s=self._clock.now().timestamp())
        except errors.FairleadError as error:
            return knowledge.Unknown(str(error))
        return knowledge.Known(found)

    def invalidate(self) -> None:
        """A write went to this cluster: earlier answers say nothing of it."""
        self._shared.invalidate()
        self._empty = None

    async def _read(self) -> serve.RayEvidence:
        try:
            instance = await self._reads.fetch_instance()
            session = await self._session_of(instance.controller_id)
        except errors.FairleadError as error:
            self._session, self._empty = None, None
            return knowledge.Unknown(str(error))
        if instance.controller_id is not None:
            self._empty, self._last_session = None, session
            return knowledge.Known(serve.ServeView(session=session, applications=instance.applications))
        if instance.applications:
            self._empty = None
            return knowledge.Unknown("Ray lists applications but no Serve controller")
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
