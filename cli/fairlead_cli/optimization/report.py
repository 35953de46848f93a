"""The table of variants, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import rich.table

from fairlead_cli.optimization.measuring import Found
from fairlead_runtime.model.evaluation_record import wilson
from fairlead_runtime.model.variant import VariantReason
from fairlead_runtime.optimization.judging import Judged, describe_change
from fairlead_runtime.optimization.record import Variant


def make_table(found: Found) -> rich.table.Table:
    """A row for each variant; the number is that of the plot."""
    rows = [speed.rows for speed in found.table.variants[0].speeds]
    table = rich.table.Table("#", "variant", box=None)
    for count in rows:
        table.add_column(f"best, {count}", justify="right")
        table.add_column("p50", justify="right")
        table.add_column("p99, µs", justify="right")
    for name in ("rows/s", "memory, MiB", "size, kB", "start, s", "accuracy", "95 %", "score change", "verdict"):
        table.add_column(name, justify="right" if name != "verdict" else "left")
    for number, each in enumerate(found.table.variants):
        table.add_row(*_cells(number, each, found))
    for unmade in found.table.unmade:
        table.add_row("", unmade.name, *[""] * (3 * len(rows) + 7), unmade.why)
    return table


def _cells(number: int, each: Variant, found: Found) -> Iterator[str]:
    samples = found.table.samples
    interval = wilson(each.correct, samples)
    yield from (str(number), each.name)
    for speed in each.speeds:
        yield from (f"{seconds * 1e6:,.0f}" for seconds in (speed.best_s, speed.p50_s, speed.p99_s))
    yield f"{each.speeds[-1].rows / each.speeds[-1].best_s:,.0f}"
    yield from (f"{each.rss_bytes / 2**20:.1f}", f"{each.size_bytes / 1e3:,.1f}", f"{each.start_s:.2f}")
    yield from (f"{each.correct / samples:.4f}", f"{interval.low:.4f} to {interval.high:.4f}")
    yield from (f"{describe_change(each.score_change)}", verdict(each.name, found.judged))


def verdict(name: str, judged: Judged) -> str:
    """Whether it serves, or why not."""
    if name == judged.choice.name:
        return "serves"
    return judged.refused.get(name, "the float model")


def describe(found: Found) -> Iterator[str]:
    """What serves, and both engines beside each other."""
    choice = found.judged.choice
    yield f"{choice.name} serves ({choice.reason.value})."
    if choice.reason is VariantReason.NO_SAMPLES:
        yield f"The samples can't judge any variant: {choice.why}."
    for each in found.engines:
        yield (
            f"{each.rows} rows: TensorFlow {each.tensorflow_s * 1e6:,.0f} µs, ONNX Runtime (Float) "
            f"{each.onnx_s * 1e6:,.0f} µs, in the same rounds."
        )


def pareto(variants: Sequence[Variant]) -> frozenset[str]:
    """Those to which no other one is at least as fast (1 row) and as accurate, and better in one of the two."""
    points = {each.name: (each.speeds[0].best_s, -each.correct) for each in variants}
    return frozenset(
        name
        for name, (time_s, wrong) in points.items()
        if not any(
            other_s <= time_s and other_wrong <= wrong and (other_s, other_wrong) != (time_s, wrong)
            for other_s, other_wrong in points.values()
        )
    )


def to_json(found: Found) -> dict[str, Any]:
    """All figures, in seconds and bytes."""
    front = pareto(found.table.variants)
    return {
        "serves": found.judged.choice.name,
        "reason": found.judged.choice.reason.value,
        "why": found.judged.choice.why,
        "samples": found.table.samples,
        "engines": [each.model_dump() for each in found.engines],
        "variants": [
            {
                **each.model_dump(exclude={"file", "digest"}),
                "accuracy": each.correct / found.table.samples,
                "pareto": each.name in front,
                "verdict": verdict(each.name, found.judged),
            }
            for each in found.table.variants
        ],
        "unmade": [each.model_dump() for each in found.table.unmade],
    }
