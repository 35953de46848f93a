"""The settings that are tried, and the load that they are tried with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_cli.tuning.errors import TuningError

SETTINGS_MAX = 12
"""Each has a process that holds the model."""

BLOCK_REQUESTS_MIN = 100
"""Of one block: the p99 of fewer is their maximum."""

BLOCK_S_MIN = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a replica serves. `rows` is None where requests share no calls, and `delay_ms` is 0 then."""

    threads: int
    rows: int | None
    delay_ms: int = 0

    @property
    def name(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        if self.rows is None:
            return f"{threads}, no batching"
        return f"{threads}, {self.rows} rows, {self.delay_ms} ms"

    @property
    def batching(self) -> dict[str, object]:
        """As in a replica's configuration."""
        if self.rows is None:
            return {"mode": "Off"}
        return {"mode": "Auto", "maxRows": self.rows, "maxDelayMilliseconds": self.delay_ms}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What all replicas together have to answer, and the highest p99 at which that counts as answered."""

    rate: float
    latency_max_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Each setting is measured with each of the numbers of replicas, in each round."""

    settings: Sequence[Setting]
    replicas: Sequence[int]
    load: Load
    rounds: int
    seconds: float

    @property
    def block_s(self) -> float:
        """How long one block of requests takes."""
        return self.seconds / (len(self.settings) * len(self.replicas) * self.rounds)


def grid(threads: Sequence[int], rows: Sequence[int | None], delays_ms: Sequence[int]) -> Sequence[Setting]:
    """Every combination once. Raises TuningError where there are too many."""
    found = []
    for count, most in itertools.product(sorted(set(threads)), dict.fromkeys(rows)):
        waits = (0,) if most is None else sorted(set(delays_ms))
        found += [Setting(threads=count, rows=most, delay_ms=wait) for wait in waits]
    if len(found) > SETTINGS_MAX:
        raise TuningError(
            f"{len(found)} settings are too many, at most {SETTINGS_MAX} are measured: give fewer values to --threads, "
            "--max-rows or --delay-ms"
        )
    return found


def require_time(plan: Plan) -> None:
    """Raises TuningError where the time is too short to say anything."""
    rate = plan.load.rate / max(plan.replicas)
    needed_s = max(BLOCK_S_MIN, BLOCK_REQUESTS_MIN / rate)
    blocks = len(plan.settings) * len(plan.replicas) * plan.rounds
    if plan.block_s < needed_s:
        minutes = blocks * needed_s / 60
        raise TuningError(
            f"{plan.seconds / 60:g} minutes are too short: {blocks} blocks ({len(plan.settings)} settings, "
            f"{len(plan.replicas)} numbers of replicas, {plan.rounds} rounds) of at least {needed_s:.1f} s "
            f"({BLOCK_REQUESTS_MIN} requests at {rate:g} a second) take {minutes:.1f} minutes. Raise --minutes, or try "
            "less"
        )
