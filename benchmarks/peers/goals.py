"""The project's goals for speed, each judged in the cases that it is about. Nothing here measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.peers import figures
from benchmarks.peers.figures import Case, Round, Spread

PYTHON_SERVERS = ("ray", "litserve", "mlserver", "kserve", "bentoml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """``one`` does at least ``factor`` times what each of ``others`` does, in the cases of these encodings."""

    title: str
    one: str
    others: tuple[str, ...]
    factor: float
    encodings: tuple[str, ...] = ("json",)


GOALS = (
    Goal(title="replica alone ≥ 1.0 x bare uvicorn", one="replica", others=("uvicorn",), factor=1.0),
    Goal(title="replica alone ≥ 1.5 x Triton", one="replica", others=("triton",), factor=1.5),
    Goal(title="through the gateway ≥ 0.8 x bare uvicorn", one="gateway", others=("uvicorn",), factor=0.8),
    Goal(title="through the gateway ≥ 5 x the best Python server", one="gateway", others=PYTHON_SERVERS, factor=5.0),
    Goal(
        title="binary and gRPC ≥ Triton, through the gateway",
        one="gateway",
        others=("triton",),
        factor=1.0,
        encodings=("binary", "grpc"),
    ),
)
TAIL_CONNECTIONS = 64
TAIL_MOST = 3.0


def judge(found: Spread, *, least: float) -> str:
    """``reached`` or ``missed`` in every round, else ``undecided``."""
    if found.least >= least:
        return "reached"
    return "missed" if found.most < least else "undecided"


def best(rounds: Sequence[Round], servers: Sequence[str]) -> str | None:
    """The server with the highest median rate of those that were measured."""
    rates = {name: figures.absolute(rounds, name, "rate") for name in servers}
    measured = {name: found.median for name, found in rates.items() if found is not None}
    return max(measured, key=measured.__getitem__) if measured else None


def rows(measured: Mapping[Case, Sequence[Round]], titles: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Goal, case, with whom it is compared, and by requests/s and by processor time the ratio and the judgement."""
    for case, rounds in measured.items():
        if case.rate is not None:
            continue
        for goal in GOALS:
            other = best(rounds, goal.others)
            if case.encoding in goal.encodings and other is not None:
                yield from _compare(goal, str(case), rounds, other, titles)
        yield from _tail(case, rounds, titles)


def _compare(
    goal: Goal, case: str, rounds: Sequence[Round], other: str, titles: Mapping[str, str]
) -> Iterator[tuple[str, ...]]:
    rate = figures.ratio(rounds, goal.one, other, "rate")
    # Turned round, so that more is better in both: requests for each second of processor.
    work = figures.ratio(rounds, other, goal.one, "processor_us")
    if rate is not None and work is not None:
        cells = (text for found in (rate, work) for text in (found.write(), judge(found, least=goal.factor)))
        yield (goal.title, case, titles[other], *cells)


def _tail(case: Case, rounds: Sequence[Round], titles: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for name in ("replica", "gateway"):
        found = figures.absolute(rounds, name, "tail")
        if case.connections == TAIL_CONNECTIONS and found is not None:
            is_reached, is_missed = found.most <= TAIL_MOST, found.least > TAIL_MOST
            text = "reached" if is_reached else "missed" if is_missed else "undecided"
            yield (f"{titles[name]}: p99 ≤ {TAIL_MOST:g} x p50", str(case), "-", found.write(), text, "-", "-")


def table(measured: Mapping[Case, Sequence[Round]], titles: Mapping[str, str]) -> str:
    """All goals in Markdown."""
    head = ("goal", "case", "compared with", "requests/s", "", "requests for a second of processor", "")
    lines = [head, ("---",) * len(head), *rows(measured, titles)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
