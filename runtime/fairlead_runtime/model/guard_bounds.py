"""What guards compare rows with: extremes of the training data, as `guards` of `statistics.json` has them.

`fairlead package` writes them, a replica reads them; docs/evaluation.md describes the schema.
"""

from __future__ import annotations

import math
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

COLUMNS_MAX = 12
"""A row with up to so many numbers has bounds for each of them, a longer one for all together."""

ELEMENTS_MAX = 256
"""Elements of a row, evenly spaced, that the distance is computed of."""

DIRECTIONS_MAX = 32
INPUTS_MAX = 16
MEASURES_MAX = 4 * INPUTS_MAX
RANK_MAX = 32
NUMBER_MAX = 1e30
SIZE_MAX = 2**40

_Number = Annotated[float, Field(ge=-NUMBER_MAX, le=NUMBER_MAX)]
_Positive = Annotated[float, Field(gt=0, le=NUMBER_MAX)]
_Index = Annotated[int, Field(ge=0, lt=INPUTS_MAX)]
_Size = Annotated[int, Field(ge=0, le=SIZE_MAX)]
_Rows = Annotated[int, Field(ge=0, le=SIZE_MAX)]
_Vector = Annotated[tuple[_Number, ...], Field(max_length=ELEMENTS_MAX)]


class _Part(BaseModel):
    """Fields that this version doesn't know are ignored, as in the rest of the file."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", allow_inf_nan=False
    )


class InputBounds(_Part):
    """Extremes of one input's numbers, by column or together, and of the sizes that its signature leaves free.

    `sizes` are of the free dimensions but the first, in their order; of texts the longest in bytes comes last. `rows`
    is how many were read, and `outside` how many of them have an infinity, which no extreme holds.
    """

    input: _Index
    low: Annotated[tuple[_Number, ...], Field(max_length=COLUMNS_MAX)] = ()
    high: Annotated[tuple[_Number, ...], Field(max_length=COLUMNS_MAX)] = ()
    has_missing: bool = False
    sizes: Annotated[tuple[_Size, ...], Field(max_length=RANK_MAX)] = ()
    rows: _Rows = 0
    outside: _Rows = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.low) != len(self.high) or any(a > b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError("low and high must have one pair for each column, and low must not be above high")
        return self


class MeasureBounds(_Part):
    """Extremes of one measure of so many rows; of those `outside` it is no finite number."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]
    low: _Number
    high: _Number
    rows: _Rows = 0
    outside: _Rows = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low of {self.name} is above high")
        return self


class Directions(_Part):
    """Where the rows of one input lie: their mean and scale, the directions in which they vary most, and the rest.

    `variances` are those along `components`, `rest` is the variance along each other direction.
    """

    input: _Index
    mean: Annotated[_Vector, Field(min_length=1)]
    scale: Annotated[tuple[_Positive, ...], Field(min_length=1, max_length=ELEMENTS_MAX)]
    components: Annotated[tuple[_Vector, ...], Field(max_length=DIRECTIONS_MAX)]
    variances: Annotated[tuple[_Positive, ...], Field(max_length=DIRECTIONS_MAX)]
    rest: _Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        size = len(self.mean)
        if len(self.scale) != size or any(len(each) != size for each in self.components):
            raise ValueError(f"mean, scale and each of the components must have {size} numbers")
        if len(self.variances) != len(self.components):
            raise ValueError("variances and components must be as many")
        return self


class GuardBounds(_Part):
    """All that guards compare with; `score` bounds the answers to the evaluation data."""

    inputs: Annotated[tuple[InputBounds, ...], Field(max_length=INPUTS_MAX)] = ()
    measures: Annotated[tuple[MeasureBounds, ...], Field(max_length=MEASURES_MAX)] = ()
    directions: Annotated[tuple[Directions, ...], Field(max_length=INPUTS_MAX)] = ()
    score: MeasureBounds | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for kind, found in (
            ("inputs", [each.input for each in self.inputs]),
            ("directions", [each.input for each in self.directions]),
            ("measures", [each.name for each in self.measures]),
        ):
            if len(set(found)) < len(found):
                raise ValueError(f"{kind} must be of different inputs and names")
        return self


MARGIN = 0.1


def widen(low: float, high: float) -> tuple[float, float]:
    """The bounds that a guard holds values to: wider at each end by a tenth of the width, and never without any."""
    margin = max(MARGIN * (high - low), 1e-6 * max(abs(low), abs(high)))
    return low - margin, high + margin


def is_finite(value: float) -> bool:
    """Whether the value can be a bound."""
    return math.isfinite(value) and abs(value) <= NUMBER_MAX
