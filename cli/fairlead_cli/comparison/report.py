"""What the command prints: the table, the recommendation in words, or all of it as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import rich.table

from fairlead_cli.comparison import choosing
from fairlead_cli.comparison.choosing import Comparison, Constraints, Recommendation
from fairlead_cli.comparison.figures import ROWS, Measured, SignTest, Spread

MIB = 2**20


def make_table(candidates: Sequence[Measured], constraints: Constraints) -> rich.table.Table:
    """A row for each figure, a column for each candidate."""
    table = rich.table.Table("", *(each.name for each in candidates), box=None)
    table.add_row(constraints.metric.value.lower(), *(f"{each.record.value:.4f}" for each in candidates))
    intervals = [each.record.interval for each in candidates]
    table.add_row("95% interval (Wilson)", *(f"{each.low:.4f} to {each.high:.4f}" for each in intervals))
    for rows in ROWS:
        for quantile in ("p50", "p99"):
            spreads = [getattr(each.latency[rows], quantile) for each in candidates]
            name = f"{quantile}, {rows} row{'s' if rows > 1 else ''}, ms"
            table.add_row(name, *(_milliseconds(each) for each in spreads))
    table.add_row("memory (RSS), MiB", *(f"{each.memory_bytes / MIB:.1f}" for each in candidates))
    table.add_row("memory (PSS), MiB", *(f"{each.pss_bytes / MIB:.1f}" for each in candidates))
    table.add_row("size on disk, MiB", *(f"{each.size_bytes / MIB:.3f}" for each in candidates))
    table.add_row("load time, s", *(f"{each.load_s:.2f}" for each in candidates))
    table.add_row("engine", *(each.engine for each in candidates))
    keeps = ["no" if choosing.find_violations(each, constraints) else "yes" for each in candidates]
    table.add_row("keeps the constraints", *keeps)
    return table


def describe(candidates: Sequence[Measured], found: Recommendation) -> str:
    """The recommendation with its reason, and how each other candidate compares with it."""
    lines = [f"Recommended: {found.name}: {found.reason}."]
    rounds = len(candidates[0].latency[1].p50_s)
    lines += [_describe_comparison(found.name, each, rounds) for each in found.comparisons]
    level = choosing.level_of_a_pair(len(candidates))
    tests = "McNemar's exact test (accuracy), sign test over rounds (latency)"
    lines.append(f"Tests: {tests}; a pair differs at p <= {level:.3g}.")
    return "\n".join(lines)


def describe_violations(candidates: Sequence[Measured], constraints: Constraints) -> Sequence[str]:
    """A line for each candidate that breaks a constraint."""
    found = [(each, choosing.find_violations(each, constraints)) for each in candidates]
    return [f"{each.name}: {'; '.join(broken)}" for each, broken in found if broken]


def to_json(candidates: Sequence[Measured], constraints: Constraints, found: Recommendation | None) -> dict[str, Any]:
    """All figures; `recommendation` is null where no candidate keeps the constraints."""
    return {
        "data": candidates[0].record.data.model_dump(by_alias=True),
        "machine": {"cores": os.cpu_count(), "loadAverage": os.getloadavg()[0]},
        "level": choosing.level_of_a_pair(len(candidates)),
        "candidates": [_candidate(each, constraints) for each in candidates],
        "recommendation": None if found is None else _recommendation(found),
    }


def _candidate(each: Measured, constraints: Constraints) -> dict[str, Any]:
    record = each.record
    return {
        "name": each.name,
        "modelDigest": record.model_digest,
        "metric": record.metric.value,
        "value": record.value,
        "interval": record.interval.model_dump(by_alias=True),
        "samples": record.samples,
        "correct": record.correct,
        "engine": each.engine,
        "engineWhy": each.why,
        "latency": [
            {
                "rows": rows,
                "calls": found.calls,
                "p50Seconds": _spread(found.p50),
                "p99Seconds": _spread(found.p99),
            }
            for rows, found in each.latency.items()
        ],
        "memoryBytes": each.memory_bytes,
        "pssBytes": each.pss_bytes,
        "sizeBytes": each.size_bytes,
        "loadSeconds": each.load_s,
        "violations": list(choosing.find_violations(each, constraints)),
    }


def _recommendation(found: Recommendation) -> dict[str, Any]:
    return {
        "name": found.name,
        "reason": found.reason,
        "comparisons": [
            {
                "other": each.other,
                "accuracy": {**_test(each.accuracy), "differs": each.accuracy_differs},
                "latency": {**_test(each.latency), "differs": each.latency_differs},
            }
            for each in found.comparisons
        ],
    }


def _test(test: SignTest) -> dict[str, Any]:
    return {"recommendedBetter": test.first, "otherBetter": test.second, "p": test.p}


def _spread(spread: Spread) -> dict[str, float]:
    return {"median": spread.median, "least": spread.least, "most": spread.most}


def _milliseconds(spread: Spread) -> str:
    return f"{spread.median * 1e3:.3f} ({spread.least * 1e3:.3f} to {spread.most * 1e3:.3f})"


def _describe_comparison(name: str, each: Comparison, rounds: int) -> str:
    """Both tests in words."""
    accuracy = "differs in accuracy" if each.accuracy_differs else "does not differ in accuracy beyond chance"
    latency = "differs in latency" if each.latency_differs else "does not differ in latency beyond chance"
    return (
        f"{each.other} {accuracy} (p = {each.accuracy.p:.2g}: {each.accuracy.first} samples only {name} has right, "
        f"{each.accuracy.second} only {each.other}) and {latency} (p = {each.latency.p:.2g}: {name} is faster in "
        f"{each.latency.first} of {rounds} rounds)."
    )
