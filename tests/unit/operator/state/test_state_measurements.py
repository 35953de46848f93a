"""Sums from growing counters: nothing is lost or counted twice, and nothing from before the step counts."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from tests.support.builders import NOW

from fairlead_operator.api.analysis_status import COUNT_MAX, AnalysisPhase, Run
from fairlead_operator.api.counts import GATEWAYS_MAX, Counters, Scale, Sums
from fairlead_operator.state import measurements
from fairlead_operator.state.measurements import GatewayReading, PartOfSums

SCALE = Scale(durations_s=(0.1, 1.0))
A, B = "aaaaaaaaaa", "bbbbbbbbbb"


def counters(requests: int, **others: int) -> Counters:
    return Counters(requests=requests, durations=(requests, 0, 0), **others)


def reading(gateway: str = "g", epoch: str = "1", scale: Scale = SCALE, **revisions: Counters) -> GatewayReading:
    named: Mapping[str, Counters] = {{"a": A, "b": B}[name]: counted for name, counted in revisions.items()}
    return GatewayReading(gateway=gateway, epoch=epoch, scale=scale, revisions=named)


def add(sums: Sums, *readings: GatewayReading) -> Sums:
    added = measurements.add(sums, readings, stable=A, candidate=B)
    assert added is not None
    return added


def test_the_first_reading_sets_the_marks_and_counts_nothing() -> None:
    sums = add(Sums(), reading(a=counters(1000), b=counters(50)))
    assert (sums.stable.requests, sums.candidate.requests) == (0, 0)
    sums = add(sums, reading(a=counters(1090), b=counters(60, server_errors=2, client_errors=3)))
    assert (sums.stable.requests, sums.candidate.requests, sums.candidate.server_errors) == (90, 10, 2)
    assert sums.candidate.client_errors == 3
    assert sums.candidate.durations == (10, 0, 0)


def test_adding_the_same_reading_twice_counts_it_once() -> None:
    first = add(Sums(), reading(b=counters(1)))
    second = reading(b=counters(11))
    assert add(add(first, second), second) == add(first, second)


def test_after_a_lost_write_the_difference_from_the_old_marks_is_added() -> None:
    before = add(Sums(), reading(b=counters(1)))
    add(before, reading(b=counters(7)))  # the write of this one was lost
    assert add(before, reading(b=counters(12))).candidate.requests == 11


def test_a_new_epoch_sets_new_marks_and_keeps_the_sums() -> None:
    sums = add(add(Sums(), reading(b=counters(0))), reading(b=counters(30)))
    sums = add(sums, reading(epoch="2", b=counters(4)))
    assert sums.candidate.requests == 30
    assert add(sums, reading(epoch="2", b=counters(9))).candidate.requests == 35


def test_counters_that_fall_within_an_epoch_are_rejected() -> None:
    sums = add(add(Sums(), reading(b=counters(20))), reading(b=counters(50)))
    assert add(sums, reading(b=counters(5))).candidate.requests == 30


def test_requests_are_added_over_gateways_and_pairs_are_taken_from_the_first() -> None:
    sums = add(Sums(), reading("g1", b=counters(0)), reading("g2", b=counters(0)))
    grown = counters(10, pairs=8, disagreed=1, labelled=4, correct=3)
    sums = add(sums, reading("g2", b=grown), reading("g1", b=grown))
    assert (sums.candidate.requests, sums.candidate.durations) == (20, (20, 0, 0))
    assert (sums.candidate.pairs, sums.candidate.disagreed) == (8, 1)
    assert (sums.candidate.labelled, sums.candidate.correct) == (4, 3)


def test_a_later_gateway_counts_from_its_first_reading() -> None:
    sums = add(Sums(), reading("g1", b=counters(0)))
    sums = add(sums, reading("g1", b=counters(5)), reading("g0", b=counters(900)))
    assert sums.candidate.requests == 5
    sums = add(sums, reading("g1", b=counters(5)), reading("g0", b=counters(903)))
    assert sums.candidate.requests == 8


def test_a_removed_gateway_keeps_its_counts_but_not_its_mark() -> None:
    sums = add(Sums(), reading("g1", b=counters(0)), reading("g2", b=counters(0)))
    sums = add(sums, reading("g1", b=counters(5)), reading("g2", b=counters(5)))
    sums = add(sums, reading("g1", b=counters(6)))
    assert (sums.candidate.requests, [mark.gateway for mark in sums.marks]) == (11, ["g1"])


def test_histograms_of_another_scale_are_not_added() -> None:
    sums = add(Sums(), reading(b=counters(0)))
    other = reading(scale=Scale(durations_s=(0.5, 1.0)), b=counters(1))
    assert measurements.add(sums, (other,), stable=A, candidate=B) is None


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30),
    lost=st.sets(st.integers(0, 29)),
)
def test_the_sum_equals_the_growth_since_the_first_mark_whatever_writes_are_lost(
    steps: list[tuple[int, int, int]], lost: set[int]
) -> None:
    totals = {f"g{n}": (7 * n, 3 * n) for n in range(4)}

    def read() -> tuple[GatewayReading, ...]:
        return tuple(reading(name, a=counters(a), b=counters(b)) for name, (a, b) in totals.items())

    stored = add(Sums(), *read())
    began = dict(totals)
    for number, (gateway, stable, candidate) in enumerate(steps):
        a, b = totals[f"g{gateway}"]
        totals[f"g{gateway}"] = (a + stable, b + candidate)
        added = add(stored, *read())
        stored = stored if number in lost else added
    final = add(stored, *read())
    assert final.stable.requests == sum(totals[g][0] - began[g][0] for g in totals)
    assert final.candidate.requests == sum(totals[g][1] - began[g][1] for g in totals)


def test_sums_survive_the_round_trip_through_the_status() -> None:
    sums = add(add(Sums(), reading(b=counters(1))), reading(b=counters(20, pairs=3), a=counters(4, labelled=1)))
    run = Run(phase=AnalysisPhase.RUNNING, started_at=NOW, measured_at=NOW, count=2, errors=1, message="m")
    run, status = run.with_sums(sums), TypeAdapter(Run)
    assert run.sums == sums
    assert status.validate_python(status.dump_python(run, mode="json", by_alias=True, exclude_none=True)) == run


def test_more_gateways_than_the_status_holds_make_no_status_that_is_refused() -> None:
    names = [f"gateway-{number:02}" for number in range(GATEWAYS_MAX + 2)]
    sums = add(Sums(), *(reading(name, b=counters(1)) for name in names))
    sums = add(sums, *(reading(name, b=counters(4)) for name in names))
    assert sums.candidate.requests == 3 * GATEWAYS_MAX
    run = Run(phase=AnalysisPhase.RUNNING, started_at=NOW, measured_at=NOW).with_sums(sums)
    status = TypeAdapter(Run)
    stored = status.validate_python(status.dump_python(run, by_alias=True))
    assert stored.sums == sums
    assert [mark.gateway for mark in stored.marks] == names[:GATEWAYS_MAX]
    assert stored.uncounted_gateways == 2


def test_measurements_beyond_the_schema_s_bound_are_counted_no_further() -> None:
    run = Run(phase=AnalysisPhase.RUNNING, started_at=NOW, measured_at=NOW, count=COUNT_MAX + 1)
    status = TypeAdapter(Run)
    assert status.validate_python(status.dump_python(run, by_alias=True)).count == COUNT_MAX


def add_part(sums: Sums, left_out: str, *readings: GatewayReading) -> PartOfSums:
    added = measurements.add_part(sums, readings, {left_out}, stable=A, candidate=B)
    assert added is not None
    return added


def test_a_part_is_judged_with_what_replicas_counted_and_kept_without() -> None:
    marked = add(Sums(), reading("g0", b=counters(0)), reading("g1", b=counters(0)))
    part = add_part(marked, "g0", reading("g1", b=counters(10, labelled=4, correct=3)))
    assert (part.judged.candidate.requests, part.judged.candidate.labelled) == (10, 4)
    assert (part.kept.candidate.requests, part.kept.candidate.labelled) == (10, 0)
    assert [mark.gateway for mark in part.kept.marks] == ["g1", "g0"]
    assert part.kept.uncounted_gateways == part.judged.uncounted_gateways == 1


def test_a_part_with_other_histograms_is_none() -> None:
    sums = add(Sums(), reading(b=counters(1)))
    other = reading(scale=Scale(durations_s=(0.2, 1.0)), b=counters(2))
    assert measurements.add_part(sums, (other,), {"g1"}, stable=A, candidate=B) is None


def test_the_marks_of_gateways_that_are_left_out_have_the_room_that_is_left() -> None:
    names = [f"g{number:02d}" for number in range(GATEWAYS_MAX)]
    marked = add(Sums(), *(reading(name, b=counters(0)) for name in names))
    left_out = set(names[:2])
    more = [reading(name, b=counters(1)) for name in [*names[2:], "h0"]]
    part = measurements.add_part(marked, tuple(more), left_out, stable=A, candidate=B)
    assert part is not None
    assert len(part.kept.marks) == GATEWAYS_MAX
    assert part.kept.candidate.requests == GATEWAYS_MAX - 2
    assert "g00" in {mark.gateway for mark in part.kept.marks}


@given(
    read=st.lists(st.tuples(st.booleans(), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8),
    labels=st.lists(st.integers(0, 9), min_size=8, max_size=8),
)
def test_whichever_gateways_are_read_in_between_all_is_counted_once_in_the_end(
    read: list[tuple[bool, int, int]], labels: list[int]
) -> None:
    """``read`` says which of two gateways is read alone, and what both count meanwhile."""
    sums, counted, labelled = add(Sums(), reading("g0", b=counters(0)), reading("g1", b=counters(0))), [0, 0], 0
    for (is_second, first, second), more in zip(read, labels, strict=False):
        counted, labelled = [counted[0] + first, counted[1] + second], labelled + more
        number = int(is_second)
        alone = reading(f"g{number}", b=counters(counted[number], labelled=labelled))
        part = add_part(sums, f"g{1 - number}", alone)
        assert part.judged.candidate.labelled == labelled
        sums = part.kept
    both = (reading(f"g{number}", b=counters(count, labelled=labelled)) for number, count in enumerate(counted))
    done = add(sums, *both)
    assert (done.candidate.requests, done.candidate.labelled) == (sum(counted), labelled)
