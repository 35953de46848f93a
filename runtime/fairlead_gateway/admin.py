"""The admin port: health, readiness, metrics, and what HAProxy was read to have.

Source: docs/contracts.md, "Gateway → operator: the admin port".
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from fairlead_gateway import metrics, news, settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the agent answers with; a reason is None where all is well."""

    unhealthy: Callable[[], str | None]
    unready: Callable[[], str | None]
    routes: Callable[[], Awaitable[dict[str, Any] | None]]
    measurements: Callable[[str], dict[str, Any] | None]
    changed: Callable[[str | None, float], Awaitable[str]]
    metrics: metrics.Metrics


def build_app(answers: Answers) -> web.Application:
    """The admin port's application."""

    async def healthz(_: web.Request) -> web.Response:
        return _health_response(answers.unhealthy())

    async def readyz(_: web.Request) -> web.Response:
        return _health_response(answers.unready())

    async def routes(_: web.Request) -> web.Response:
        found = await answers.routes()
        if found is None:
            return web.json_response({"error": "HAProxy could not be read"}, status=503)
        return web.json_response(found)

    async def changes(request: web.Request) -> web.Response:
        wait_s = _seconds(request.query.get("wait", "0"))
        if wait_s is None:
            reason = f"wait: it must be a number of seconds from 0 to {news.WAIT_S_MAX:g}"
            return web.json_response({"error": reason}, status=400)
        return web.json_response({"version": await answers.changed(request.query.get("since"), wait_s)})

    async def measurements(request: web.Request) -> web.Response:
        model = request.match_info["model"]
        found = answers.measurements(model)
        if found is None:
            return web.json_response({"error": f"this gateway has no route for a model {model[:64]!r}"}, status=404)
        return web.json_response(found)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=answers.metrics.text(), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/v1/routes", routes)
    app.router.add_get("/v1/changes", changes)
    app.router.add_get("/v1/measurements/{model}", measurements)
    app.router.add_get("/metrics", exposition)
    return app


async def serve(answers: Answers, address: settings.Address) -> web.AppRunner:
    """Start the admin port; the caller cleans the runner up."""
    runner = web.AppRunner(build_app(answers), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address.host, address.port).start()
    return runner


def _seconds(text: str) -> float | None:
    """None for anything but a number of seconds that a question may be held."""
    if re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,6})?", text) is None or float(text) > news.WAIT_S_MAX:
        return None
    return float(text)


def _health_response(reason: str | None) -> web.Response:
    if reason is None:
        return web.json_response({"status": "ok"})
    return web.json_response({"status": "failed", "reason": reason}, status=503)
