"""How a process ends: signals, what is waited for, and the two ends that nothing may hold up."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


async def wait_for_first(*waits: asyncio.Task[Any] | Coroutine[Any, Any, Any]) -> None:
    """Return when the first of them has ended; of those made here, the others are cancelled."""
    own = [asyncio.create_task(wait) for wait in waits if asyncio.iscoroutine(wait)]
    given = [wait for wait in waits if isinstance(wait, asyncio.Task)]
    await asyncio.wait([*own, *given], return_when=asyncio.FIRST_COMPLETED)
    for task in own:
        task.cancel()


def set_on_signals(stop: asyncio.Event) -> None:
    """Have SIGTERM and SIGINT set the event."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a task that has ended raised."""
    return None if task.cancelled() else task.exception()


def exit_at_once() -> None:
    """Another process may write from now on: nothing of ours may run on, not even to clean up."""
    log.critical("the Lease is lost")
    logging.shutdown()
    os._exit(1)


def exit_after(delay_s: float, code: int) -> None:
    """End the process then, whatever it does."""
    timer = threading.Timer(delay_s, os._exit, args=(code,))
    timer.daemon = True
    timer.start()
