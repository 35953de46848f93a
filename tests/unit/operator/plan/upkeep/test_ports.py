from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.plan.upkeep.revisions import lowest_free
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.ports import PortRange

BOUNDS = Bounds(ports_first=100, ports_last=199, ports_per_revision=10)


def ranges(*firsts: int, count: int = 10) -> tuple[PortRange, ...]:
    return tuple(PortRange(first=first, count=count) for first in firsts)


def test_the_lowest_gap_is_taken() -> None:
    assert lowest_free((), BOUNDS) == PortRange(first=100, count=10)
    assert lowest_free(ranges(100, 120), BOUNDS) == PortRange(first=110, count=10)
    assert lowest_free(ranges(105), BOUNDS) == PortRange(first=115, count=10)


def test_none_is_left_when_every_port_is_taken() -> None:
    assert lowest_free(ranges(*range(100, 200, 10)), BOUNDS) is None
    assert lowest_free(ranges(100, count=95), BOUNDS) is None


taken = st.lists(st.builds(PortRange, first=st.integers(60, 220), count=st.integers(1, 40)), max_size=8)


@given(taken=taken)
def test_a_range_overlaps_none_and_is_missed_only_when_there_is_none(taken: list[PortRange]) -> None:
    found = lowest_free(tuple(taken), BOUNDS)
    free = [
        first
        for first in range(BOUNDS.ports_first, BOUNDS.ports_last - 8)
        if not any(PortRange(first=first, count=10).overlaps(other) for other in taken)
    ]
    assert (found.first if found is not None else None) == (free[0] if free else None)
