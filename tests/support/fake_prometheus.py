"""A Prometheus that answers as configured: a number, none, several, NaN, late, or not at all."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from tests.support.http_thread import HttpThread


class FakePrometheus:
    def __init__(self) -> None:
        self.answer: float | str | list[float] | None = None
        """``None`` is no series, a list one series each, a word what stands in place of a number."""
        self.labels: list[dict[str, str]] = []
        """Of the series, in place of a number of their own."""
        self.code = 200
        self.is_late = False
        """While true, no answer comes."""
        self.queries: list[str] = []
        self.namespaces: list[str] = []
        """Of the queries, as a proxy that restricts them would read it."""
        self._server = HttpThread(self._application)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_late = False
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/api/v1/query", self._query)
        return application

    async def _query(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.queries.append(str(form["query"]))
        self.namespaces.append(str(form["namespace"]))
        while self.is_late:
            await asyncio.sleep(0.05)
        if self.code != 200:
            return web.json_response({"status": "error", "errorType": "x", "error": "refused"}, status=self.code)
        data = {"resultType": "vector", "result": self._series()}
        return web.json_response({"status": "success", "data": data})

    def _series(self) -> list[dict[str, Any]]:
        numbers = self.answer if isinstance(self.answer, list) else [] if self.answer is None else [self.answer]
        named = [*self.labels, *({"n": str(n)} for n in range(len(self.labels), len(numbers)))]
        return [{"metric": labels, "value": [1.5, str(number)]} for labels, number in zip(named, numbers, strict=False)]
