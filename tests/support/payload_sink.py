"""A sink of CloudEvents over HTTP, and what the specification asks of each event that it receives."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
from aiohttp import web
from tests.support.http_thread import HttpThread
from tests.support.replica_parts import wait_until

# Source: https://github.com/cloudevents/spec, cloudevents/formats/cloudevents.json
SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "cloudevents" / "cloudevents.json").read_text())
_ATTRIBUTE = re.compile("[a-z0-9]{1,20}")


class PayloadSink:
    """Answers each event with 202, and keeps it."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.authorizations: list[str | None] = []
        self._server = HttpThread(self._application)

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._take)
        return application

    async def _take(self, request: web.Request) -> web.Response:
        self.authorizations.append(request.headers.get("authorization"))
        self.requests.append((request.path, request.headers.get("content-type", ""), await request.read()))
        return web.Response(status=202)

    @property
    def url(self) -> str:
        return f"{self._server.url}/events"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def events(self, count: int) -> list[dict[str, Any]]:
        """The events, once so many have come; each keeps to the specification."""
        wait_until(lambda: len(self.requests) >= count)
        return [check(content_type, body) for _, content_type, body in self.requests]

    def last(self) -> dict[str, Any]:
        """The event that came last."""
        return check(*self.requests[-1][1:])


@contextmanager
def receiving() -> Iterator[PayloadSink]:
    sink = PayloadSink()
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()


def check(content_type: str, body: bytes) -> dict[str, Any]:
    """An event in structured mode, by the published schema and the rules that it can't say.

    Source: cloudevents/spec.md 1.0.2, "Attribute Naming Convention" and "Type System"; http-protocol-binding.md, 3.2
    """
    assert content_type.lower().replace(" ", "") == "application/cloudevents+json;charset=utf-8"
    event: dict[str, Any] = json.loads(body.decode())
    validator = jsonschema.validators.validator_for(SCHEMA)
    validator(SCHEMA, format_checker=validator.FORMAT_CHECKER).validate(event)
    assert event["specversion"] == "1.0"
    attributes = {name: value for name, value in event.items() if name not in ("data", "data_base64")}
    assert [name for name in attributes if not _ATTRIBUTE.fullmatch(name)] == []
    assert [value for value in attributes.values() if not isinstance(value, str | bool | int)] == []
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", event["time"])
    return event
