"""What an analysis reads: every gateway's counters of a model or nothing, and the answers to its queries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from fairlead_operator.clients import errors
from fairlead_operator.state import analysis, directory, gateways, keys, knowledge, measurements, question

Number = knowledge.Known[float | None] | knowledge.Unknown


class MeasurementReads(Protocol):
    async def fetch(self, admin_url: str, model: str) -> measurements.GatewayReading: ...


class NumberReads(Protocol):
    async def fetch_number(self, url: str, query: str) -> float | None: ...


class MeasurementsReader:
    """``prometheus`` is by namespace, from the operator's settings."""

    def __init__(
        self,
        gateways: MeasurementReads,
        numbers: NumberReads,
        *,
        listed: directory.GatewayDirectory,
        prometheus: Mapping[str, str],
    ) -> None:
        self._gateways = gateways
        self._numbers = numbers
        self._directory = listed
        self._prometheus = prometheus

    async def read(self, key: keys.ModelKey, asked: question.Question) -> analysis.Measured:
        """One Ready gateway that can't be read makes the counters UNKNOWN: a sum without it would not be the sum."""
        names = tuple(asked.queries)
        gateways, answers = await asyncio.gather(
            self._counters(key),
            asyncio.gather(*(self._number(key.namespace, asked.queries[name]) for name in names)),
        )
        return analysis.Measured(gateways=gateways, answers=dict(zip(names, answers, strict=True)))

    async def _counters(
        self, key: keys.ModelKey
    ) -> knowledge.Known[tuple[measurements.GatewayReading, ...]] | knowledge.Unknown:
        listed = self._directory.members(key.namespace)
        if isinstance(listed, knowledge.Unknown):
            return listed
        members = listed.value if isinstance(listed, knowledge.Known) else ()
        urls = [member.admin_url for member in members if member.state is gateways.MemberState.READY]
        if not urls:
            return knowledge.Unknown(f"namespace {key.namespace} has no gateway that is ready")
        try:
            return knowledge.Known(tuple(await asyncio.gather(*(self._gateways.fetch(url, key.name) for url in urls))))
        except errors.FairleadError as error:
            return knowledge.Unknown(str(error))

    async def _number(self, namespace: str, query: str) -> Number:
        url = self._prometheus.get(namespace)
        if url is None:
            return knowledge.Unknown(f"the operator was given no Prometheus for namespace {namespace}")
        try:
            return knowledge.Known(await self._numbers.fetch_number(url, query))
        except errors.FairleadError as error:
            return knowledge.Unknown(str(error))
