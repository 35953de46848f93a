"""A clock that was set back: what the status dates in the future would be waited for as long as it was set back."""

from __future__ import annotations

import datetime
from dataclasses import replace

from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.rollout import Rollout

TOLERANCE_S = 5.0
"""Clocks of two processes of the operator may differ by so much."""


def correct(context: Context, rollout: Rollout) -> Plan | None:
    """Takes what lies in the future as now; None where nothing does."""
    latest, now = context.now + datetime.timedelta(seconds=TOLERANCE_S), context.second
    run = rollout.analysis
    dates = [rollout.started_at, rollout.step_started_at, *([run.started_at, run.measured_at] if run else [])]
    if max(dates) <= latest:
        return None
    if run is not None:
        run = replace(run, started_at=min(run.started_at, now), measured_at=min(run.measured_at, now))
    corrected = replace(
        rollout,
        started_at=min(rollout.started_at, now),
        step_started_at=min(rollout.step_started_at, now),
        analysis=run,
    )
    message = "The operator's clock was set back: what was dated in the future counts from now."
    return context.announce(replace(context.serving, rollout=corrected), context.serving.rules.reason, message)
