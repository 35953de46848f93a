"""What the operator remembers and reports of an analysis, in ``status.rollout.analysis``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fairlead_operator.api.analysis import METRICS_MAX, NAME_MAX
from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.text import LIST_MAP_KEYS, Message, Time

GATEWAYS_MAX = 16
BUCKETS_MAX = 65
SHORT_MESSAGE_MAX = 256

Counter = Annotated[int, Field(ge=0, le=2**53)]
COUNT_MAX = 1000000
Small = Annotated[int, Field(ge=0, le=COUNT_MAX)]
AMOUNT_MAX = 9e15
Amount = Annotated[float, Field(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
Buckets = Annotated[tuple[Counter, ...], Field(max_length=BUCKETS_MAX)]
Scale = Annotated[tuple[Amount, ...], Field(max_length=BUCKETS_MAX)]


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


class CountersStatus(ApiModel):
    """Counters of one revision."""

    requests: Counter = 0
    """The number of requests."""
    server_errors: Counter = 0
    """The number of requests that failed with 5xx."""
    client_errors: Counter = 0
    """The number of requests that were answered with 4xx."""
    pairs: Counter = 0
    """The number of copied requests."""
    disagreed: Counter = 0
    """The number of copied requests with a different answer, or none."""
    labelled: Counter = 0
    """The number of predictions with a true label from feedback."""
    correct: Counter = 0
    """The number of predictions that match their true label."""
    durations: Buckets = ()
    """The number of requests in each bucket of `durationBoundsSeconds`; the last bucket is above all bounds."""
    scores: Buckets = ()
    """The number of predictions in each bucket of `scoreBounds`; the last bucket is above all bounds."""


class BaselineStatus(ApiModel):
    """Counters of the revision that was stable before, from the completed steps of the rollout."""

    requests: Counter = 0
    """The number of requests."""
    server_errors: Counter = 0
    """The number of requests that failed with 5xx."""
    labelled: Counter = 0
    """The number of predictions with a true label from feedback."""
    correct: Counter = 0
    """The number of predictions that match their true label."""


class MarkStatus(ApiModel):
    """The counters of one gateway at the last measurement, from which later readings are counted."""

    gateway: Annotated[str, Field(max_length=253)]
    """The name of the gateway."""
    epoch: Annotated[str, Field(max_length=64)]
    """The process of the gateway's agent. Counters start at zero in each epoch."""
    stable: CountersStatus
    """The counters of the stable revision."""
    candidate: CountersStatus
    """The counters of the candidate."""


class MetricStatus(ApiModel):
    """The last measurement of one metric."""

    name: Annotated[str, Field(max_length=NAME_MAX)]
    """The name of the metric."""
    phase: MetricPhase
    """The result of the last measurement: Successful, Failed, Inconclusive or Error."""
    value: Amount | None = None
    """The measured value of the candidate."""
    limit: Amount | None = None
    """The limit that the value is compared with."""
    samples: Counter = 0
    """The number of samples of the candidate."""
    failed: Small = 0
    """The number of failed measurements in this step."""
    inconclusive: Small = 0
    """The number of inconclusive measurements in this step."""
    message: Annotated[str, Field(max_length=SHORT_MESSAGE_MAX)] = ""
    """The result in words."""


class AnalysisStatus(ApiModel):
    """The analysis of the current step, or of the promoted revision."""

    phase: AnalysisPhase
    """The result so far: Running, Successful, Failed or Inconclusive."""
    started_at: Time
    """The time when this analysis started."""
    measured_at: Time
    """The time of the last measurement."""
    count: Small = 0
    """The number of measurements so far."""
    errors: Small = 0
    """The number of consecutive measurements that were unavailable."""
    message: Message = ""
    """The result so far in words."""
    metrics: Annotated[
        tuple[MetricStatus, ...], Field(max_length=METRICS_MAX, json_schema_extra={LIST_MAP_KEYS: ["name"]})
    ] = ()
    """The last measurement of each metric."""
    stable: CountersStatus = CountersStatus()
    """The counters of the stable revision since this analysis started."""
    candidate: CountersStatus = CountersStatus()
    """The counters of the candidate since this analysis started."""
    duration_bounds_seconds: Scale = ()
    """The upper bounds of the duration buckets in seconds."""
    score_bounds: Scale = ()
    """The upper bounds of the score buckets."""
    marks: Annotated[
        tuple[MarkStatus, ...], Field(max_length=GATEWAYS_MAX, json_schema_extra={LIST_MAP_KEYS: ["gateway"]})
    ] = ()
    """The counters of each gateway at the last measurement."""
