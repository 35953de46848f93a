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
    RUNNING = "Running"
    SUCCESSFUL = "Successful"  # every metric is proved within its limit
    FAILED = "Failed"  # one is proved worse
    INCONCLUSIVE = "Inconclusive"  # it could not be told: a person decides


class MetricPhase(StrEnum):
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"


class CountersStatus(ApiModel):
    """Counts of one revision."""

    requests: Counter = 0
    server_errors: Counter = 0
    client_errors: Counter = 0
    pairs: Counter = 0
    disagreed: Counter = 0
    labelled: Counter = 0
    correct: Counter = 0
    durations: Buckets = ()
    scores: Buckets = ()


class BaselineStatus(ApiModel):
    """What was counted of the revision that was stable during the rollout, in the steps that are done."""

    requests: Counter = 0
    server_errors: Counter = 0
    labelled: Counter = 0
    correct: Counter = 0


class MarkStatus(ApiModel):
    """Where a gateway's counters stood at the last measurement."""

    gateway: Annotated[str, Field(max_length=253)]
    epoch: Annotated[str, Field(max_length=64)]
    stable: CountersStatus
    candidate: CountersStatus


class MetricStatus(ApiModel):
    """The last measurement of one metric, and how many were bad."""

    name: Annotated[str, Field(max_length=NAME_MAX)]
    phase: MetricPhase
    value: Amount | None = None
    limit: Amount | None = None
    samples: Counter = 0
    failed: Small = 0
    inconclusive: Small = 0
    message: Annotated[str, Field(max_length=SHORT_MESSAGE_MAX)] = ""


class AnalysisStatus(ApiModel):
    """One step's analysis: its own memory, written with each measurement."""

    phase: AnalysisPhase
    started_at: Time
    measured_at: Time
    count: Small = 0
    errors: Annotated[Small, Field(description="Measurements in a row that could not be had.")] = 0
    message: Message = ""
    metrics: Annotated[
        tuple[MetricStatus, ...], Field(max_length=METRICS_MAX, json_schema_extra={LIST_MAP_KEYS: ["name"]})
    ] = ()
    stable: CountersStatus = CountersStatus()
    candidate: CountersStatus = CountersStatus()
    duration_bounds_seconds: Scale = ()
    score_bounds: Scale = ()
    marks: Annotated[
        tuple[MarkStatus, ...], Field(max_length=GATEWAYS_MAX, json_schema_extra={LIST_MAP_KEYS: ["gateway"]})
    ] = ()
