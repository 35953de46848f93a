"""The variants that a node of the local cluster made of a model, and which of them serves: the node's own record."""

from __future__ import annotations

import pathlib

from fairlead_cli.demo import columns, narration
from fairlead_cli.optimization import report
from fairlead_runtime.config import Optimization
from fairlead_runtime.model.evaluation_record import wilson
from fairlead_runtime.optimization import judging, record
from fairlead_runtime.optimization.record import Table


def read_only(cache: pathlib.Path) -> Table:
    """What a node measured of the only model in its cache.

    Raises:
        DemoFailed: it has no variants.
    """
    paths = list(cache.rglob(record.NAME))
    found = record.read(paths[0]) if len(paths) == 1 else None
    if found is None:
        raise narration.DemoFailed(f"the node made no variants: {cache} has not one {record.NAME}")
    if isinstance(found.result, record.Refusal):
        raise narration.DemoFailed(f"the node made no variants: {found.result.why}")
    return found.result


def describe(table: Table, bounds: Optimization) -> tuple[str, str]:
    """The name of the variant that serves within these bounds, and the figures of all as a table."""
    judged = judging.judge(table, bounds)
    rows = []
    for each in table.variants:
        interval = wilson(each.correct, table.samples)
        rows.append(
            (
                each.name,
                *(f"{speed.best_s * 1e6:,.0f}" for speed in (each.speeds[0], each.speeds[-1])),
                f"{each.size_bytes / 1e3:,.1f}",
                f"{each.correct / table.samples:.3f} ({interval.low:.3f} to {interval.high:.3f})",
                judging.describe_change(each.score_change),
                report.verdict(each.name, judged),
            )
        )
    rows += [(each.name, *[""] * 5, each.why) for each in table.unmade]
    counts = [speed.rows for speed in (table.variants[0].speeds[0], table.variants[0].speeds[-1])]
    header = ("variant", *(f"{count} row{'s' * (count > 1)}, µs" for count in counts))
    return judged.choice.name, columns.align(
        (*header, "size, kB", f"accuracy of {table.samples} samples (95 %)", "score change", "verdict"), rows
    )
