"""What a person writes in ``spec.monitoring``: what is watched of a served model, and what is sent of its requests."""

from __future__ import annotations

from enum import StrEnum

from fairlead_operator.api.model import ApiModel
from fairlead_operator.api.payloads import Payloads


class DriftWatch(StrEnum):
    """What the operator does about drift."""

    OFF = "Off"
    CONDITION = "Condition"


class Monitoring(ApiModel):
    """What is watched of a model that serves, beside its replicas and traffic."""

    drift: DriftWatch = DriftWatch.OFF
    """Whether the status has the condition `DriftDetected`. It is True while an alert on drift fires for the stable
    revision, and its message names the feature and the share of the rows. Needs a model that was packaged with
    `--reference`, and a Prometheus of the namespace (chart value `prometheusUrls`) with the rules of the chart. `Off`:
    no condition. Default: Off.
    """
    payloads: Payloads | None = None
    """The payload log: which inputs and outputs of answered predictions the replicas send to a sink. A change applies
    to all running replicas of all revisions, without a restart. If unset, no inputs or outputs are sent or kept.
    """
