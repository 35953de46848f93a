"""What is known of a namespace's gateways: each member by itself."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import shared
from fairlead_operator.state import directory, gateways, knowledge, route

GatewaysEvidence = knowledge.Known[gateways.Gateways] | knowledge.Absent | knowledge.Unknown


class GatewayReads(Protocol):
    async def fetch_view(self, admin_url: str) -> route.GatewayView: ...


class GatewaysPoller:
    """Reads every gateway that the directory lists for a namespace.

    One that can't be read is Unknown by itself: it may still route the old way, and the others are known all the same.
    """

    def __init__(
        self, reads: GatewayReads, listed: directory.GatewayDirectory, namespace: str, *, clock: Clock
    ) -> None:
        self._reads = reads
        self._directory = listed
        self._namespace = namespace
        self._shared = shared.SharedRead(self._read, clock=clock)

    async def evidence(self, max_age_s: float) -> GatewaysEvidence:
        return await self._shared.get(max_age_s)

    async def _read(self) -> GatewaysEvidence:
        listed = self._directory.members(self._namespace)
        if not isinstance(listed, knowledge.Known):
            return listed
        members = await asyncio.gather(*(self._see(member) for member in listed.value))
        return knowledge.Known(gateways.Gateways(members=tuple(members)))

    async def _see(self, member: directory.Gateway) -> gateways.GatewaySeen:
        view: knowledge.Known[route.GatewayView] | knowledge.Unknown
        try:
            view = knowledge.Known(await self._reads.fetch_view(member.admin_url))
        except errors.FairleadError as error:
            view = knowledge.Unknown(str(error))
        return gateways.GatewaySeen(name=member.name, state=member.state, view=view)
