"""What an analysis reads: each gateway's counters of a model, and the answers to its queries."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Protocol

from fairlead_operator.clients import errors
from fairlead_operator.state import analysis, directory, gateways, keys, knowledge, measurements, question

Number = knowledge.Known[float | None] | knowledge.Unknown


class MeasurementReads(Protocol):
    async def fetch(self, admin_url: str, model: str) -> measurements.GatewayReading: ...


class NumberReads(Protocol):
    async def fetch_number(self, url: str, query: str, *, namespace: str) -> float | None: ...


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
        """The counters of every Ready gateway that can be read, and why the others can't."""
        names = tuple(asked.queries)
        gateways, answers = await asyncio.gather(
            self._counters(key),
            asyncio.gather(*(self._number(key.namespace, asked.queries[name]) for name in names)),
        )
        return analysis.Measured(gateways=gateways, answers=dict(zip(names, answers, strict=True)))

    async def _counters(self, key: keys.ModelKey) -> knowledge.Known[measurements.Readings] | knowledge.Unknown:
        listed = self._directory.members(key.namespace)
        if isinstance(listed, knowledge.Unknown):
            return listed
        members = listed.value if isinstance(listed, knowledge.Known) else ()
        ready = [member for member in members if member.state is gateways.MemberState.READY]
        if not ready:
            return knowledge.Unknown(f"namespace {key.namespace} has no gateway that is ready")
        ordered = sorted(ready, key=lambda member: member.name)
        answers = await asyncio.gather(*(self._fetch(member, key.name) for member in ordered))
        named = tuple(zip((member.name for member in ordered), answers, strict=True))
        unread = {name: answer.reason for name, answer in named if isinstance(answer, knowledge.Unknown)}
        read = tuple(answer.value for _, answer in named if isinstance(answer, knowledge.Known))
        return knowledge.Known(measurements.Readings(read=read, unread=unread))

    async def _fetch(
        self, member: directory.Gateway, model: str
    ) -> knowledge.Known[measurements.GatewayReading] | knowledge.Unknown:
        """By the directory's name of the gateway, which it also has while it can't be read."""
        try:
            reading = await self._gateways.fetch(member.admin_url, model)
        except errors.FairleadError as error:
            return knowledge.Unknown(error.cause)
        return knowledge.Known(dataclasses.replace(reading, gateway=member.name))

    async def _number(self, namespace: str, query: str) -> Number:
        url = self._prometheus.get(namespace)
        if url is None:
            return knowledge.Unknown(f"the operator was given no Prometheus for namespace {namespace}")
        try:
            return knowledge.Known(await self._numbers.fetch_number(url, query, namespace=namespace))
        except errors.FairleadError as error:
            return knowledge.Unknown(error.cause)
