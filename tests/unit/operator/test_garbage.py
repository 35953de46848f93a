"""The operator collects garbage seldom: of what was imported none, and of the rest after many allocations."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from fairlead_operator import garbage


@pytest.fixture
def collector() -> Iterator[None]:
    """This process's own settings, which other tests go on with."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector")
def test_what_was_imported_is_in_no_collection_and_a_collection_needs_many_allocations() -> None:
    gc.unfreeze()
    assert gc.get_freeze_count() == 0
    before = len(gc.get_objects())
    garbage.collect_seldom()
    assert gc.get_freeze_count() >= before
    assert gc.get_threshold() == (20_000, 20, 20)
