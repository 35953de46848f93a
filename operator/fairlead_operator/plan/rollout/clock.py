"""A clock that was set back: what the status dates in the future would be waited for as long as it was set back."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.context import CLOCK_TOLERANCE_S, Context
from fairlead_operator.state.actions import Plan


def correct(context: Context, rollout: Rollout) -> Plan | None:
    """Takes what lies in the future as now; None where nothing does."""
    corrected = dated_until(rollout, context.now + datetime.timedelta(seconds=CLOCK_TOLERANCE_S))
    if corrected == rollout:
        return None
    corrected = dated_until(rollout, context.second)
    message = "The operator's clock was set back. Times in the future are reset to now."
    return context.announce(replace(context.serving, rollout=corrected), context.serving.rules.reason, message)


def dated_until(rollout: Rollout, latest: datetime.datetime) -> Rollout:
    """The memory with no date after ``latest``. A crash of then is forgotten: crashes of one moment would be a loop."""
    health, run = rollout.health, rollout.analysis
    health = replace(
        health,
        unwell_since=_until(health.unwell_since, latest),
        crashes=tuple(crash for crash in health.crashes if crash <= latest),
    )
    if run is not None:
        run = replace(run, started_at=min(run.started_at, latest), measured_at=min(run.measured_at, latest))
    dates: dict[str, Any] = {
        "started_at": min(rollout.started_at, latest),
        "step_started_at": min(rollout.step_started_at, latest),
        "proof_tried_at": _until(rollout.proof_tried_at, latest),
        "progress_at": _until(rollout.progress_at, latest),
        "stable_lost_at": _until(rollout.stable_lost_at, latest),
    }
    return replace(rollout, health=health, analysis=run, **dates)


def _until(date: datetime.datetime | None, latest: datetime.datetime) -> datetime.datetime | None:
    return None if date is None else min(date, latest)
