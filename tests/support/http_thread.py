"""A real HTTP server on a free loopback port, in a thread with a loop of its own, so that a test may block."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

T = TypeVar("T")
START_DEADLINE_S = 60


class HttpThread:
    """Serves one aiohttp application; state of its handlers is touched only on its own loop, through ``run``."""

    def __init__(
        self, make_application: Callable[[], web.Application], *, port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        self._host = host
        self._make_application = make_application
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()
        if not self._started.wait(START_DEADLINE_S):
            raise RuntimeError("the HTTP thread did not start")

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(START_DEADLINE_S)

    def run(self, function: Callable[[], T]) -> T:
        """Call a function on the server's loop and give its result."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(START_DEADLINE_S)

    def _serve(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.run_until_complete(_end_all())
            self._loop.close()

    async def _main(self) -> None:
        runner: Any = web.AppRunner(self._make_application(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()


async def _end_all() -> None:
    """End the handlers that hang on purpose."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
