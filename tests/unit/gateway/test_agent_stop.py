"""What ends with the agent also ends where the event for which it waits comes in the same moment."""

from __future__ import annotations

import asyncio

import pytest

from fairlead_gateway import agent


async def test_a_wait_that_is_cancelled_as_its_event_comes_ends() -> None:
    stop = agent.Stop()
    waiting = asyncio.create_task(stop.wait(3600))
    stop.signal()
    await asyncio.sleep(0.01)
    stop.signal()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
