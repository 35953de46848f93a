"""Fixtures that every test may ask for; they live in `tests/support`, by what they are about."""

from __future__ import annotations

from tests.support.local_cluster import kubernetes, local_cluster

__all__ = ["kubernetes", "local_cluster"]
