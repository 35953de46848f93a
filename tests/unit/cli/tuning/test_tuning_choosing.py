"""Which setting is proposed for given figures, what it reserves, and what is said where none meets the target."""

from __future__ import annotations

import pytest

from fairlead_cli.tuning import choosing, report
from fairlead_cli.tuning.errors import TuningError
from fairlead_cli.tuning.figures import Block, Measured, Point
from fairlead_cli.tuning.settings import Load, Plan, Setting, grid, require_time

LOAD = Load(rate=400, latency_max_s=0.020)
OFF, BATCHED = Setting(threads=1, rows=None), Setting(threads=1, rows=64)
WIDE = Setting(threads=2, rows=64)
MIB = 2**20


def block(
    p99_ms: float | None, *, offered: float = 200, answered: float | None = None, failed: int = 0, cores: float = 0.3
) -> Block:
    rate = offered if answered is None else answered
    return Block(
        offered=offered,
        answered=rate,
        requests=1000,
        failed=failed,
        p50_s=None if p99_ms is None else p99_ms / 2e3,
        p99_s=None if p99_ms is None else p99_ms / 1e3,
        cpu_s_per_request=cores / rate,
    )


def measured(setting: Setting, *rounds: Block, replicas: int = 2, memory: int = 300 * MIB) -> Measured:
    point = Point(setting=setting, replicas=replicas, blocks=rounds)
    return Measured(setting=setting, points={replicas: point}, memory_bytes=memory)


def plan(*settings: Setting, replicas: tuple[int, ...] = (1, 2), seconds: float = 60, rounds: int = 2) -> Plan:
    return Plan(settings=settings, replicas=replicas, load=LOAD, rounds=rounds, seconds=seconds)


def test_the_fewest_reserved_cores_of_those_that_meet_the_target_in_every_round_are_proposed() -> None:
    slow = measured(OFF, block(30), block(30))
    once = measured(Setting(threads=1, rows=16), block(5), block(25))
    cheap = measured(BATCHED, block(12, cores=0.3), block(14, cores=0.3))
    quick = measured(WIDE, block(2), block(2))
    found = choosing.recommend([slow, once, cheap, quick], LOAD)
    assert found is not None
    assert (found.proposal.setting, found.proposal.replicas) == (BATCHED, 2)
    assert found.proposal.cpu == pytest.approx(0.4), "a quarter more than the 0.3 cores that it used, in tenths"
    assert found.proposal.cores == pytest.approx(0.8)
    assert found.proposal.memory_bytes == 384 * MIB
    assert found.reason == "of 2 that meet the target in every round it reserves the fewest cores (0.8)"


def test_two_threads_reserve_two_cores_and_one_never_so_many() -> None:
    wide = choosing.recommend([measured(WIDE, block(2), block(2))], LOAD)
    narrow = choosing.recommend([measured(BATCHED, block(2, cores=1.8), block(2, cores=1.8))], LOAD)
    assert wide is not None
    assert narrow is not None
    assert (wide.proposal.cpu, narrow.proposal.cpu) == (2.0, 1.9)
    assert "the only one" in wide.reason


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param((block(5), block(21)), id="too slow in one round"),
        pytest.param((block(5), block(5, failed=1)), id="a failed request"),
        pytest.param((block(5), block(5, answered=150)), id="it does not keep up"),
        pytest.param((block(5), block(None, answered=1)), id="no answer at all"),
    ],
)
def test_a_setting_that_misses_the_target_in_one_round_is_not_proposed(rounds: tuple[Block, ...]) -> None:
    late = measured(OFF, *rounds)
    assert choosing.recommend([late], LOAD) is None
    printed = report.describe_none([late], plan(OFF), choosing.nearest([late], LOAD))
    assert "No setting meets the target" in printed
    assert "400 requests/s with a p99 of at most 20 ms" in printed


def test_the_nearest_one_is_named_where_none_meets_the_target() -> None:
    far, near = measured(OFF, block(90), block(80)), measured(BATCHED, block(19), block(23))
    printed = report.describe_none([far, near], plan(OFF, BATCHED), choosing.nearest([far, near], LOAD))
    assert (
        "The nearest is 2 replicas with 1 thread, 64 rows, 0 ms: p99 21.00 (19.00 to 23.00) ms, met in 1 of" in printed
    )


def test_of_settings_that_differ_less_than_the_rounds_do_the_nearest_to_the_defaults_is_proposed() -> None:
    found = choosing.recommend([measured(OFF, block(8), block(12)), measured(BATCHED, block(9), block(13))], LOAD)
    assert found is not None
    assert found.proposal.setting == BATCHED
    assert "do not differ in p99 by more than the rounds do" in found.reason
    apart = choosing.recommend([measured(OFF, block(3), block(4)), measured(BATCHED, block(9), block(13))], LOAD)
    assert apart is not None
    assert apart.proposal.setting == OFF
    assert "it has the lowest p99" in apart.reason


def test_the_patch_has_what_the_api_takes() -> None:
    off = choosing.recommend([measured(OFF, block(2), block(2))], LOAD)
    on = choosing.recommend([measured(Setting(threads=1, rows=16, delay_ms=2), block(2), block(2))], LOAD)
    assert off is not None
    assert on is not None
    assert report.patch(off.proposal) == {
        "spec": {
            "scaling": {"replicas": 2},
            "serving": {
                "resources": {"cpu": "400m", "memory": "384Mi"},
                # Null removes what `mode: Off` may not stand beside.
                "batching": {"mode": "Off", "maxRows": None, "maxDelayMilliseconds": None},
            },
        }
    }
    assert report.patch(on.proposal)["spec"]["serving"]["batching"] == {
        "mode": "Auto",
        "maxRows": 16,
        "maxDelayMilliseconds": 2,
    }
    printed = report.describe(on, plan(OFF), "digits")
    assert "Nothing was applied" in printed
    assert "kubectl patch mdep digits --type merge --patch '{" in printed


def test_every_combination_is_tried_once_and_a_delay_only_where_requests_share_calls() -> None:
    found = grid((2, 1), (None, 64), (0, 2))
    assert [each.name for each in found] == [
        "1 thread, no batching",
        "1 thread, 64 rows, 0 ms",
        "1 thread, 64 rows, 2 ms",
        "2 threads, no batching",
        "2 threads, 64 rows, 0 ms",
        "2 threads, 64 rows, 2 ms",
    ]
    with pytest.raises(TuningError, match="14 settings are too many, at most 12"):
        grid(range(1, 8), (16, 64), (0,))


def test_a_time_in_which_nothing_can_be_said_is_refused_with_what_is_needed() -> None:
    require_time(plan(OFF, BATCHED, seconds=8))
    with pytest.raises(TuningError, match=r"8 blocks \(2 settings, 2 numbers of replicas, 2 rounds\).*Raise --minutes"):
        require_time(plan(OFF, BATCHED, seconds=7))
    slow = Plan(settings=(OFF,), replicas=(4,), load=Load(rate=4, latency_max_s=1), rounds=1, seconds=99)
    with pytest.raises(TuningError, match=r"at least 100.0 s \(100 requests at 1 a second\)"):
        require_time(slow)
