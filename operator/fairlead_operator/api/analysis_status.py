"""What the operator remembers and reports of an analysis, in ``status.rollout.analysis``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, with_config

from fairlead_operator.api.analysis import METRICS_MAX, NAME_MAX
from fairlead_operator.api.counts import GATEWAYS_MAX, Amount, Bounds, Counter, Counters, Mark, Scale, Sums
from fairlead_operator.api.model import MEMORY
from fairlead_operator.api.text import LIST_MAP_KEYS, Message, Time

SHORT_MESSAGE_MAX = 256
COUNT_MAX = 1000000


def _capped(count: object) -> object:
    """Measurements beyond what the schema counts are judged like all others; they are counted no further."""
    return min(count, COUNT_MAX) if isinstance(count, int) else count


Small = Annotated[int, Field(ge=0, le=COUNT_MAX), BeforeValidator(_capped)]


class AnalysisPhase(StrEnum):
    """The result of an analysis so far."""

    RUNNING = "Running"
    SUCCESSFUL = "Successful"  # every metric is proved within its limit
    FAILED = "Failed"  # one is proved worse
    INCONCLUSIVE = "Inconclusive"  # the measurements don't decide: a person does


class MetricPhase(StrEnum):
    """The result of the last measurement of a metric."""

    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The last measurement of a metric."""

    name: Annotated[str, Field(max_length=NAME_MAX)]
    """The name of the metric."""
    phase: MetricPhase
    """The result of the last measurement: Successful, Failed, Inconclusive or Error."""
    value: Amount | None = None
    """The value that was measured for the candidate. Absent if there is none."""
    limit: Amount | None = None
    """The limit that the value was compared with."""
    samples: Counter = 0
    """The number of samples of the candidate."""
    failed: Small = 0
    """The number of failed measurements of the metric in this step."""
    inconclusive: Small = 0
    """The number of inconclusive measurements of the metric in this step."""
    message: Annotated[str, Field(max_length=SHORT_MESSAGE_MAX)] = ""
    """A description of the result."""


@with_config(MEMORY)
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The analysis of the current step, or of the promoted revision."""

    phase: AnalysisPhase
    """The result so far: Running, Successful, Failed or Inconclusive. If it is Inconclusive, a person must decide."""
    started_at: Time
    """The time at which this analysis started."""
    measured_at: Time
    """The time of the last measurement."""
    count: Small = 0
    """The number of measurements so far."""
    errors: Small = 0
    """The number of consecutive measurements that were unavailable, up to the last one."""
    message: Message = ""
    """A description of the result so far."""
    results: Annotated[
        tuple[Result, ...],
        Field(alias="metrics", max_length=METRICS_MAX, json_schema_extra={LIST_MAP_KEYS: ["name"]}),
    ] = ()
    """The last measurement of each metric."""
    stable: Counters = field(default_factory=Counters)
    """The counters of the stable revision since this analysis started."""
    candidate: Counters = field(default_factory=Counters)
    """The counters of the candidate since this analysis started."""
    duration_bounds_seconds: Bounds = ()
    """The upper bounds of the duration buckets in seconds."""
    score_bounds: Bounds = ()
    """The upper bounds of the score buckets."""
    marks: Annotated[
        tuple[Mark, ...], Field(max_length=GATEWAYS_MAX, json_schema_extra={LIST_MAP_KEYS: ["gateway"]})
    ] = ()
    """The counters of each gateway at the last measurement. The next measurement counts from them."""
    uncounted_gateways: Annotated[Small, Field(exclude_if=lambda gateways: not gateways)] = 0
    """The number of gateways whose requests the last measurement did not count. An analysis counts the first 16
    gateways by name. It leaves out gateways that cannot be read and gateways that do not have the route.
    """

    @property
    def sums(self) -> Sums:
        scale = Scale(durations_s=self.duration_bounds_seconds, scores=self.score_bounds)
        return Sums(
            stable=self.stable,
            candidate=self.candidate,
            scale=scale,
            marks=self.marks,
            uncounted_gateways=self.uncounted_gateways,
        )

    def with_sums(self, sums: Sums) -> Run:
        return replace(
            self,
            stable=sums.stable,
            candidate=sums.candidate,
            duration_bounds_seconds=sums.scale.durations_s,
            score_bounds=sums.scale.scores,
            marks=sums.marks,
            uncounted_gateways=sums.uncounted_gateways,
        )

    def without_marks(self) -> Run:
        """What is counted until the next reading is left out."""
        return replace(self, marks=())
