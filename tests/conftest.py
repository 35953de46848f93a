"""Fixtures that every test may ask for; they live in `tests/support`, by what they are about."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.local_cluster import kubernetes, local_cluster

__all__ = ["kubernetes", "local_cluster"]


E2E = Path(__file__).parent / "e2e"
# The stories that break parts and wait for them; those of rollouts have a cluster of their own beside them.
ON_THE_FIRST_CLUSTER = (
    "test_apply_to_prediction",
    "test_scale_and_delete",
    "test_version_change",
    "test_bad_revisions",
    "test_restarts",
    "test_killed_replicas",
    "test_idle",
)


@pytest.hookimpl(tryfirst=True)  # before the split reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the suite is split over processes, a file stays in one, and the end-to-end stories share two clusters."""
    for item in items:
        group = item.path.stem
        if item.path.is_relative_to(E2E):
            group = "e2e" if group in ON_THE_FIRST_CLUSTER else "e2e rollouts"
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_configure() -> None:
    """Makes asking for a loop outside of one an error.

    Else looptime's hook, which asks before every test, makes one in the first synchronous test; nobody closes it, and
    the first asynchronous test after it fails for an unclosed loop.

    Source: looptime 0.7, _internal/plugin.py, pytest_pyfunc_call.
    """
    asyncio.set_event_loop(None)
