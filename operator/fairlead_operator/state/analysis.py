"""What a candidate is asked while traffic moves, and what one pass read of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never

from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.measurements import Readings

STABLE_PLACEHOLDER: Final = "{{stable}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRatio:
    """In parts of 1; ``maximum`` where it isn't compared with the stable revision's plus ``margin``."""

    margin: float
    maximum: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    quantile: float
    ratio: float
    maximum_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Both ends included."""

    least: float | None
    most: float | None

    def has(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """PromQL with placeholders; failure wins where both ranges have the value."""

    text: str
    success: Between | None
    failure: Between | None


Counted = ErrorRatio | Latency | Disagreement | Accuracy | Drift
Kind = Counted | Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    kind: Kind
    min_samples: int

    @property
    def outlives_promotion(self) -> bool:
        """Whether it says something of a revision once no other one has traffic beside it.

        Latency and scores follow the load and the hour; answers are compared while both give them; a query that names
        the stable revision would divide by nothing.
        """
        match self.kind:
            case ErrorRatio() | Accuracy():
                return True
            case Latency(maximum_s=maximum_s):
                return maximum_s is not None
            case Disagreement() | Drift():
                return False
            case Query(text=text):
                return STABLE_PLACEHOLDER not in text
        assert_never(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """``metrics`` is empty where only requests are counted, for a step ``minSamples``."""

    metrics: tuple[Metric, ...] = ()
    interval_s: int
    initial_delay_s: int = 0
    count: int = 1
    failure_limit: int = 0
    inconclusive_limit: int | None = None
    error_limit: int = 0
    is_dry_run: bool = False

    @property
    def queries(self) -> tuple[tuple[str, Query], ...]:
        return tuple((metric.name, metric.kind) for metric in self.metrics if isinstance(metric.kind, Query))

    @property
    def after_promotion(self) -> Analysis | None:
        """What of it goes on to be measured within the rollback window; None where nothing does."""
        metrics = tuple(metric for metric in self.metrics if metric.outlives_promotion)
        return replace(self, metrics=metrics) if metrics else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one pass read: the gateways' counters, and the answers to the queries that were due.

    The counters are Unknown where it isn't known which gateways there are. An answer of None is no number: no series,
    or NaN.
    """

    gateways: Known[Readings] | Unknown
    answers: Mapping[str, Known[float | None] | Unknown]
