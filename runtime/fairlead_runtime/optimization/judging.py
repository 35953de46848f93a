"""Which variant may serve, by its figures and the bounds of spec.optimization. Pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from fairlead_runtime.config import Optimization, OptimizeFor
from fairlead_runtime.model.evaluation_record import wilson
from fairlead_runtime.model.variant import FLOAT, VariantChoice, VariantReason
from fairlead_runtime.optimization.record import Table, Variant

RATIO_MAX = 0.9
"""A variant is better if its figure is at most this part of the float model's: measurements differ by some percent."""

LARGE_CHANGE = 1000.0
DROP_SHOWN = 0.01
"""With maxDrop 0 the samples have to be enough to show this drop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What serves, and for each variant that does not, why, as a part of a sentence."""

    choice: VariantChoice
    refused: Mapping[str, str]


def judge(table: Table, bounds: Optimization) -> Judged:
    """The best variant of those that keep the bounds, else the float model.

    Of those whose figures are within 10 % of the best one's, the one that changes scores least.
    """
    base, *others = table.variants
    refused = {each.name: each.why for each in table.unmade}
    if (blind := _find_blind(table, bounds)) is not None:
        choice = VariantChoice(name=FLOAT, reason=VariantReason.NO_SAMPLES, why=f"the float model serves, as {blind}")
        return Judged(choice=choice, refused={each.name: "the samples can't judge it" for each in others} | refused)
    passed: list[Variant] = []
    for each in others:
        why = _refuse(each, base, table.samples, bounds)
        if why is None:
            passed.append(each)
        else:
            refused[each.name] = why
    if not passed:
        text = "; ".join(f"{name}: {why}" for name, why in refused.items()) or "no variant was made"
        why = f"the float model serves, as {text}"
        return Judged(choice=VariantChoice(name=FLOAT, reason=VariantReason.REFUSED, why=why), refused=refused)
    least = min(figure(each, bounds.optimize_for) for each in passed)
    equal = [each for each in passed if figure(each, bounds.optimize_for) * RATIO_MAX < least]
    # What differs by less may be chance of the measurement.
    best = min(equal, key=lambda each: (each.score_change, figure(each, bounds.optimize_for)))
    for each in passed:
        if each is not best:
            how = "as good within 10 % and changes scores less" if each in equal else "better"
            refused[each.name] = f"{best.name} is {how}"
    text = _describe(best, base, table.samples, bounds.optimize_for)
    if rest := "; ".join(f"{name}: {why}" for name, why in refused.items()):
        text = f"{text}. Not served: {rest}"
    return Judged(choice=VariantChoice(name=best.name, reason=VariantReason.BEST, why=text), refused=refused)


def describe_change(change: float) -> str:
    """Of a score; the largest float stands for one that is no number any more."""
    if change == sys.float_info.max:
        return "any amount (it is no number any more)"
    return f"{change:.3f}" if change < LARGE_CHANGE else f"{change:.3g}"


def _find_blind(table: Table, bounds: Optimization) -> str | None:
    """Why a floor under this accuracy would hold nothing back; None where it would."""
    correct, max_drop = table.variants[0].correct, bounds.accuracy_floor.max_drop
    if (correct - table.most_frequent) / table.samples > max_drop:
        return None
    return (
        f"a model that always answers the most frequent label would keep the accuracy floor: it is right on "
        f"{table.most_frequent} of the {table.samples} judged samples, the float model on {correct}, and maxDrop is "
        f"{max_drop:g}; take samples whose classes are about equally frequent, or a smaller maxDrop"
    )


def figure(variant: Variant, wanted: OptimizeFor) -> float:
    """What is compared; less is better."""
    match wanted:
        case OptimizeFor.LATENCY:
            return variant.speeds[0].best_s
        case OptimizeFor.THROUGHPUT:
            return variant.speeds[-1].best_s / variant.speeds[-1].rows
        case OptimizeFor.MEMORY:
            return float(variant.rss_bytes)
        case OptimizeFor.SIZE:
            return float(variant.size_bytes)


def describe_figure(variant: Variant, wanted: OptimizeFor) -> str:
    """With its unit."""
    match wanted:
        case OptimizeFor.LATENCY:
            return f"{variant.speeds[0].best_s * 1e6:.0f} µs a call of {variant.speeds[0].rows} row"
        case OptimizeFor.THROUGHPUT:
            return f"{variant.speeds[-1].rows / variant.speeds[-1].best_s:.0f} rows/s"
        case OptimizeFor.MEMORY:
            return f"{variant.rss_bytes / 2**20:.1f} MiB of memory"
        case OptimizeFor.SIZE:
            return f"{variant.size_bytes} bytes"


def _refuse(each: Variant, base: Variant, samples: int, bounds: Optimization) -> str | None:
    """Why it may not serve."""
    floor = bounds.accuracy_floor
    shown = floor.max_drop or DROP_SHOWN
    if samples * shown < 1:
        return (
            f"{samples} judged samples can't show a drop of accuracy of {shown:g}, which takes {math.ceil(1 / shown)}"
        )
    drop = (base.correct - each.correct) / samples
    if drop > floor.max_drop:
        fall = f"from {base.correct / samples:.4f} to {each.correct / samples:.4f} on {samples} samples"
        return f"accuracy falls by {drop:.4f} ({fall}), more than maxDrop {floor.max_drop:g}"
    if each.score_change > bounds.max_score_change:
        change = describe_change(each.score_change)
        return f"a score changes by {change}, more than maxScoreChange {bounds.max_score_change:g}"
    ratio = figure(each, bounds.optimize_for) / figure(base, bounds.optimize_for)
    if ratio > RATIO_MAX:
        found, before = (describe_figure(one, bounds.optimize_for) for one in (each, base))
        return f"not better for {bounds.optimize_for.value} ({found}, float {before})"
    return None


def _describe(best: Variant, base: Variant, samples: int, wanted: OptimizeFor) -> str:
    interval = wilson(best.correct, samples)
    return (
        f"{best.name} has {describe_figure(best, wanted)}, float {describe_figure(base, wanted)}; accuracy "
        f"{best.correct / samples:.4f} (95 %: {interval.low:.4f} to {interval.high:.4f}, {samples} samples), float "
        f"{base.correct / samples:.4f}; scores change by at most {describe_change(best.score_change)}"
    )
