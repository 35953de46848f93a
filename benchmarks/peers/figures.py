"""What was measured, and what follows from it: ratios within a round, their spread, tables. Nothing here measures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is asked of each server. ``rate`` is requests a second of an open loop; None: as fast as answers come."""

    model: str
    rows: int
    encoding: str
    connections: int
    rate: float | None = None

    def __str__(self) -> str:
        loop = "" if self.rate is None else f", {self.rate:g} requests/s offered"
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        connections = "1 connection" if self.connections == 1 else f"{self.connections} connections"
        return f"{self.model}, {rows}, {self.encoding}, {connections}{loop}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One server in one round. One with a failed request is void: fast wrong answers are no answers."""

    requests: int
    failed: int
    rate: float
    p50_ms: float
    p99_ms: float
    processor_us: float

    @property
    def is_void(self) -> bool:
        return self.failed > 0 or self.requests == 0


Round = Mapping[str, Measurement]
"""By server; one that is missing doesn't take part in the case."""

Figure = Callable[[Measurement], float]
FIGURES: Mapping[str, Figure] = {
    "rate": lambda measured: measured.rate,
    "p50_ms": lambda measured: measured.p50_ms,
    "p99_ms": lambda measured: measured.p99_ms,
    "processor_us": lambda measured: measured.processor_us,
    "tail": lambda measured: measured.p99_ms / measured.p50_ms,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure over the rounds: its median, smallest and largest value."""

    median: float
    least: float
    most: float

    @property
    def is_decided(self) -> bool:
        """For a ratio: all rounds lie on one side of 1. Where they don't, nothing is claimed."""
        return self.least > 1 or self.most < 1

    def write(self, digits: int = 2) -> str:
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} to {self.most:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """None where there is no value."""
    if not values:
        return None
    return Spread(median=statistics.median(values), least=min(values), most=max(values))


def absolute(rounds: Sequence[Round], server: str, figure: str) -> Spread | None:
    """A figure of one server over the rounds that are not void for it."""
    return spread([FIGURES[figure](each[server]) for each in rounds if server in each and not each[server].is_void])


def ratio(rounds: Sequence[Round], one: str, other: str, figure: str) -> Spread | None:
    """``one`` divided by ``other`` within each round in which neither is void."""
    both = [(each[one], each[other]) for each in rounds if one in each and other in each]
    read = FIGURES[figure]
    return spread([read(mine) / read(theirs) for mine, theirs in both if not mine.is_void and not theirs.is_void])


def count_void(rounds: Sequence[Round], server: str) -> int:
    """The rounds in which a request to this server failed."""
    return sum(1 for each in rounds if server in each and each[server].is_void)


def table(rounds: Sequence[Round], titles: Mapping[str, str], base: str) -> str:
    """One case in Markdown: each server's medians, and its ratios to ``base`` with their spread."""
    lines = [
        f"| server | requests/s | to {titles[base]} | p50 ms | p99 ms | processor µs a request | to {titles[base]} "
        "| void |",
        "| --- " * 8 + "|",
    ]
    for server in (name for name in titles if any(name in each for each in rounds)):
        cells = [
            _write(absolute(rounds, server, "rate"), 0),
            _write_ratio(rounds, server, base, "rate"),
            _write(absolute(rounds, server, "p50_ms"), 2),
            _write(absolute(rounds, server, "p99_ms"), 2),
            _write(absolute(rounds, server, "processor_us"), 0),
            _write_ratio(rounds, server, base, "processor_us"),
            f"{count_void(rounds, server)} of {sum(server in each for each in rounds)}",
        ]
        lines.append(f"| {titles[server]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _write(found: Spread | None, digits: int) -> str:
    return "-" if found is None else f"{found.median:,.{digits}f}"


def _write_ratio(rounds: Sequence[Round], server: str, base: str, figure: str) -> str:
    found = None if server == base else ratio(rounds, server, base, figure)
    return "-" if found is None else found.write()
