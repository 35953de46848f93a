"""Where a value lies on an axis, and the values that its marks name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MARKS = 5
"""About so many marks are on an axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps `low` to `high` (values, `low` < `high`) onto `start` to `end` (points); by decades if `is_log`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Values beyond the axis are put at its end."""
        low, high, at = (self._measure(each) for each in (self.low, self.high, value))
        return self.start + (self.end - self.start) * min(max((at - low) / (high - low), 0.0), 1.0)

    def marks(self) -> Sequence[tuple[float, str]]:
        """Round values on the axis, each with its text."""
        return _decades(self.low, self.high) if self.is_log else _steps(self.low, self.high)

    def _measure(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.is_log else value


def _steps(low: float, high: float) -> Sequence[tuple[float, str]]:
    rough = (high - low) / MARKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= 0.8 * rough)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]


def _decades(low: float, high: float) -> Sequence[tuple[float, str]]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        every = max(1, (last - first) // MARKS)
        return [(10.0**power, _name(10.0**power)) for power in range(first, last + 1, every)]
    near = [factor * 10.0**power for power in range(first - 1, last + 1) for factor in (1, 2, 5)]
    return [(value, _name(value)) for value in near if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def _name(value: float) -> str:
    return f"{value:g}" if 1e-4 < value < 1e5 else f"1e{round(math.log10(value))}"
