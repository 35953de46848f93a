"""What a pass has to read for an analysis: nothing unless one is under way, and queries only when they are due."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from fairlead_operator.api.analysis_status import Run
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_operator.state import analysis_spec
from fairlead_operator.state.analysis import Analysis
from fairlead_operator.state.observed import ModelDeploymentView
from fairlead_operator.state.phases import rules_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The gateways' counters of the model, and PromQL by metric name."""

    queries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """What is measured, the measured revision, and the one that it is or was compared with."""

    analysis: Analysis
    measured: str
    other: str


def find_question(view: ModelDeploymentView, now: datetime.datetime) -> Question | None:
    """None while no analysis is under way, nor one of a promoted revision due."""
    rollout, found = view.status.rollout, _under_way(view, now)
    if rollout is None or found is None:
        return None
    run = view.serving.rollout.analysis if view.serving.rollout is not None else None
    is_due = due_at(found.analysis, rollout.step_started_at, run) <= now
    if rules_of(rollout.phase).keeps_warm and not is_due:
        return None
    if run is None or not is_due:
        return Question()
    known = {"candidate": found.measured, "stable": found.other, "model": view.name, "namespace": view.namespace}
    return Question(queries={name: rendered(query.text, known) for name, query in found.analysis.queries})


def _under_way(view: ModelDeploymentView, now: datetime.datetime) -> _UnderWay | None:
    rollout, spec, stable = view.status.rollout, view.spec, view.status.stable_revision
    if rollout is None or stable is None or not isinstance(spec, ModelDeploymentSpec):
        return None
    analysis, candidate, warm = (
        analysis_spec.analysis_of(spec.rollout),
        view.status.candidate_revision,
        rollout.leaving,
    )
    rules = rules_of(rollout.phase)
    if rules.moves_traffic and analysis is not None and candidate is not None:
        return _UnderWay(analysis=analysis, measured=candidate, other=stable)
    after = analysis.after_promotion if analysis is not None else None
    window_s = spec.rollout.rollback_window.seconds if spec.rollout.rollback_window is not None else 0
    is_open = now - rollout.step_started_at <= datetime.timedelta(seconds=window_s)
    if rules.keeps_warm and after is not None and warm is not None and is_open:
        return _UnderWay(analysis=after, measured=stable, other=warm)
    return None


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
