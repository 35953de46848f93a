"""What a pass has to read for an analysis: nothing unless one is under way, and queries only when they are due."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.state import analysis_memory, analysis_spec
from fairlead_operator.state.analysis import Analysis, Run
from fairlead_operator.state.observed import ModelDeploymentView


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The gateways' counters of the model, and PromQL by metric name."""

    queries: Mapping[str, str] = field(default_factory=dict)


def of(view: ModelDeploymentView, now: datetime.datetime) -> Question | None:
    """None while no analysis is under way."""
    rollout, spec = view.status.rollout, view.spec
    if rollout is None or rollout.phase is not RolloutPhase.SHIFTING or not isinstance(spec, ModelDeploymentSpec):
        return None
    wished = analysis_spec.analysis_of(spec.rollout)
    stable, candidate = view.status.stable_revision, view.status.candidate_revision
    if wished is None or stable is None or candidate is None:
        return None
    run = analysis_memory.recall(rollout.analysis) if rollout.analysis is not None else None
    began = rollout.step_started_at or now
    if run is None or due_at(wished, began, run) > now:
        return Question()
    known = {"candidate": candidate, "stable": stable, "model": view.name, "namespace": view.namespace}
    return Question(queries={name: rendered(query.text, known) for name, query in wished.queries})


def due_at(analysis: Analysis, began: datetime.datetime, run: Run | None) -> datetime.datetime:
    """When the next measurement is due; the first one only marks where the counters stand."""
    if run is None:
        return began + datetime.timedelta(seconds=analysis.initial_delay_s)
    return run.measured_at + datetime.timedelta(seconds=analysis.interval_s)


def rendered(text: str, known: Mapping[str, str]) -> str:
    """The query with names put in.

    That is safe inside a PromQL string: a revision is hex digits, and the API server takes no model or namespace but
    of lower-case letters, digits and dashes.
    """
    for name, value in known.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text
