"""What a person writes in ``spec.monitoring``: what is watched of a served model, and what is sent of its requests."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.payloads import Payloads


class DriftWatch(StrEnum):
    """What the operator does about drift."""

    OFF = "Off"
    CONDITION = "Condition"


class Explanations(ApiModel):
    """How many of the answered predictions the replicas explain."""

    samples_per_minute: Annotated[int, Field(ge=1, le=60)]
    """The maximum number of predictions that a replica explains in a minute, from 1 to 60. A replica explains fewer
    while clients ask it for explanations, and spends at most a twentieth of the time on them.
    """


class Monitoring(ApiModel):
    """What is watched of a model that serves, beside its replicas and traffic."""

    drift: DriftWatch = DriftWatch.OFF
    """Whether the status has the condition `DriftDetected`. It is True while an alert on drift fires for the stable
    revision, and its message names the feature and the share of the rows. Needs a model that was packaged with
    `--reference`, and a Prometheus of the namespace (chart value `prometheusUrls`) with the rules of the chart. `Off`:
    no condition. Default: Off.
    """
    explanations: Explanations | None = None
    """A sample of the answered predictions that the replicas explain, to find out whether other parts of the inputs
    decide than in the reference statistics. Only the share of each part is counted; no input is kept. Needs a model
    that was packaged with `--reference` and has one input, of numbers with a fixed shape. A change applies to all
    running replicas of all revisions, without a restart. If unset, no predictions are explained.
    """
    payloads: Payloads | None = None
    """The payload log: which inputs and outputs of answered predictions the replicas send to a sink. A change applies
    to all running replicas of all revisions, without a restart. If unset, no inputs or outputs are sent or kept.
    """
