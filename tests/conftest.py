"""Fixtures that every test may ask for; they live in `tests/support`, by what they are about."""

from __future__ import annotations

import asyncio

from tests.support.local_cluster import kubernetes, local_cluster

__all__ = ["kubernetes", "local_cluster"]


def pytest_configure() -> None:
    """Makes asking for a loop outside of one an error.

    Else looptime's hook, which asks before every test, makes one in the first synchronous test; nobody closes it, and
    the first asynchronous test after it fails for an unclosed loop.

    Source: looptime 0.7, _internal/plugin.py, pytest_pyfunc_call.
    """
    asyncio.set_event_loop(None)
