"""What is known of a namespace's gateways: all of them, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import shared
from fairlead_operator.state import knowledge, route

GatewaysEvidence = knowledge.Known[tuple[route.GatewayView, ...]] | knowledge.Absent | knowledge.Unknown


class GatewayReads(Protocol):
    async def fetch_view(self, admin_url: str) -> route.GatewayView: ...


class GatewaysPoller:
    """Reads every gateway of a namespace.

    One that can't be read makes the whole answer UNKNOWN, as it may still route the old way.
    """

    def __init__(self, reads: GatewayReads, admin_urls: Sequence[str], *, clock: Clock) -> None:
        self._reads = reads
        self._admin_urls = tuple(admin_urls)
        self._shared = shared.SharedRead(self._read, clock=clock)

    async def evidence(self, max_age_s: float) -> GatewaysEvidence:
        return await self._shared.get(max_age_s) if self._admin_urls else knowledge.ABSENT

    async def _read(self) -> GatewaysEvidence:
        try:
            views = await asyncio.gather(*(self._reads.fetch_view(url) for url in self._admin_urls))
        except errors.FairleadError as error:
            return knowledge.Unknown(str(error))
        return knowledge.Known(tuple(views))
