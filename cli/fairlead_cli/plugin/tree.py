"""`status`: what serves, what is coming, and what it waits for, as a tree."""

from __future__ import annotations

from typing import Any

import rich.markup
import rich.tree
from pydantic import TypeAdapter

from fairlead_cli.plugin import model_view
from fairlead_operator.api.analysis_status import MetricPhase, Run
from fairlead_operator.api.evaluation_status import Evaluation, EvaluationOutcome
from fairlead_operator.api.optimization import Variant
from fairlead_operator.api.revision_status import RevisionStatus
from fairlead_operator.api.status import Condition, Rollout, RolloutPhase

_RUN = TypeAdapter(Run)
_EVALUATION = TypeAdapter(Evaluation)
_VARIANT = TypeAdapter(Variant)


def facts(model: model_view.Model) -> dict[str, Any]:
    """The same as data, for ``-o json`` and ``-o yaml``."""
    status = model.status
    places = {"stable": status.stable_revision, "candidate": status.candidate_revision, "leaving": leaving(model)}
    return {
        "name": model.name,
        "namespace": model.namespace,
        "phase": status.phase.value if status.phase is not None else None,
        "ready": ready(model),
        "drift": drift(model),
        "desiredRevision": model.desired,
        "revisions": {place: _revision(model, name) for place, name in places.items() if name is not None},
        "scaling": _dump(status.scaling),
        "rollout": _rollout(model, status.rollout) if status.rollout is not None else None,
        "rollback": status.rollback.model_dump(mode="json", by_alias=True) if status.rollback is not None else None,
        "quarantine": [entry.model_dump(mode="json", by_alias=True) for entry in status.quarantine],
        "pendingRequest": _dump(model.pending),
        "handledRequest": _dump(status.handled_request),
    }


def _dump(part: Any) -> Any:
    return part.model_dump(mode="json", by_alias=True, exclude_none=True) if part is not None else None


def leaving(model: model_view.Model) -> str | None:
    return model.status.rollout.leaving if model.status.rollout is not None else None


def ready(model: model_view.Model) -> dict[str, str] | None:
    return _condition(model, "Ready")


def drift(model: model_view.Model) -> dict[str, str] | None:
    """Whether drift was found; None where spec.monitoring doesn't ask for it."""
    return _condition(model, "DriftDetected")


def _condition(model: model_view.Model, kind: str) -> dict[str, str] | None:
    found: Condition | None = next((c for c in model.status.conditions if c.type == kind), None)
    return {"status": found.status.value, "reason": found.reason, "message": found.message} if found else None


def weight_of(model: model_view.Model, revision: str) -> float:
    """The share of requests in percent that the operator aims at."""
    rollout = model.status.rollout
    if rollout is not None and rollout.phase in (RolloutPhase.RETIRING, RolloutPhase.RETIRED):
        return 0
    share = rollout.weight / 100 if rollout is not None and model.status.candidate_revision else 0
    if revision == model.status.candidate_revision:
        return share
    return 100 - share if revision == model.status.stable_revision else 0


def _revision(model: model_view.Model, name: str) -> dict[str, Any]:
    row = model.row(name)
    known: dict[str, Any] = {} if row is None else {"number": row.number, "version": row.version, "uri": row.uri}
    evaluation = row.evaluation if row is not None else None
    if evaluation is not None:
        known["evaluation"] = _EVALUATION.dump_python(evaluation, mode="json", by_alias=True, exclude_none=True)
    if row is not None and row.variant is not None:
        known["variant"] = _VARIANT.dump_python(row.variant, mode="json", by_alias=True, exclude_none=True)
    if row is not None and row.stages is not None:
        known["stages"] = row.stages
    counts = {"ready": row.ready_replicas, "wanted": row.wanted_replicas} if row is not None else None
    return {"revision": name, **known, "weight": weight_of(model, name), "replicas": counts}


def _rollout(model: model_view.Model, rollout: Rollout) -> dict[str, Any]:
    return {
        "phase": rollout.phase.value,
        "step": step_number(model, rollout),
        "steps": model_view.describe_steps(model.steps),
        "weight": rollout.weight / 100,
        "routing": model.routing.to_json(),
        "pausedByRequest": rollout.paused_by_request,
        "pausedBySpec": model.spec.rollout.paused,
        "message": rollout.message,
        "analysis": _analysis(rollout.analysis) if rollout.analysis is not None else None,
    }


def step_number(model: model_view.Model, rollout: Rollout) -> int | None:
    """The step where a rollout stands, from 1; None before the first and after the last one."""
    stands = rollout.phase is RolloutPhase.SHIFTING and rollout.step < len(model.steps)
    return rollout.step + 1 if stands else None


def _analysis(analysis: Run) -> dict[str, Any]:
    """What it found; its counters and marks are its own."""
    shown: dict[str, Any] = _RUN.dump_python(
        analysis,
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"phase", "count", "errors", "message", "results"},
    )
    return shown


def draw(model: model_view.Model) -> rich.tree.Tree:
    status = model.status
    phase = status.phase.value if status.phase is not None else "not processed by the operator yet"
    root = rich.tree.Tree(f"[bold]{model.name}[/] ({model.namespace})  [{_colour(phase)}]{phase}[/]")
    for place, name in (("stable", status.stable_revision), ("candidate", status.candidate_revision)):
        if name is not None:
            branch = root.add(_line(model, place, name))
            _draw_evaluation(model, name, branch)
            if place == "candidate" and status.rollout is not None:
                _draw_rollout(model, status.rollout, branch)
    if (name := leaving(model)) is not None and status.rollout is not None:
        place = "warm" if status.rollout.phase is RolloutPhase.WATCHING else "leaving"
        branch = root.add(_line(model, place, name))
        branch.add(_plain(f"{status.rollout.phase}: {status.rollout.message or ''}"))
        _draw_analysis(status.rollout.analysis, branch)
    _draw_rest(model, root)
    return root


def _draw_evaluation(model: model_view.Model, name: str, branch: rich.tree.Tree) -> None:
    """Of a model without a record nothing is said: most have none."""
    row = model.row(name)
    evaluation = row.evaluation if row is not None else None
    if evaluation is not None and evaluation.outcome is not EvaluationOutcome.ABSENT:
        branch.add(_plain(f"evaluation: {evaluation.describe()}"))
    if row is not None and row.variant is not None:
        branch.add(_plain(f"variant: {row.variant.describe()}"))
    if row is not None and row.stages is not None:
        branch.add(_plain(f"stages: {row.stages}, each in a replica of its own"))


def _draw_rollout(model: model_view.Model, rollout: Rollout, branch: rich.tree.Tree) -> None:
    where = rollout.phase.value
    if rollout.phase is RolloutPhase.SHIFTING and model.steps:
        number = step_number(model, rollout)
        where = (
            f"step {number} of {len(model.steps)}: {model_view.describe_step(model.steps[rollout.step])}"
            if number is not None
            else "all steps are done: the candidate gets all traffic"
        )
    branch.add(_plain(where))
    for sentence in model_view.describe_routing(model.routing):
        branch.add(_plain(sentence))
    for is_so, holder in (
        (rollout.paused_by_request, "paused by a person: kubectl fairlead resume"),
        (model.spec.rollout.paused, "paused by spec.rollout.paused"),
    ):
        if is_so:
            branch.add(f"[yellow]{holder}[/]")
    if rollout.message:
        branch.add(_plain(rollout.message))
    _draw_analysis(rollout.analysis, branch)


_MARKS = {
    MetricPhase.SUCCESSFUL: "[green]✓[/]",
    MetricPhase.FAILED: "[red]✗[/]",
    MetricPhase.INCONCLUSIVE: "[yellow]?[/]",
    MetricPhase.ERROR: "[red]![/]",
}


def _draw_analysis(analysis: Run | None, branch: rich.tree.Tree) -> None:
    if analysis is None or not (analysis.results or analysis.errors):
        return
    errors = f", {analysis.errors} not available" if analysis.errors else ""
    left_out = f", {analysis.uncounted_gateways} gateways not counted" if analysis.uncounted_gateways else ""
    measured = branch.add(_plain(f"analysis {analysis.phase}: {analysis.count} measurements{errors}{left_out}"))
    for metric in analysis.results:
        measured.add(f"{_MARKS[metric.phase]} {_plain(f'{metric.name}: {metric.message}')}")


def _draw_rest(model: model_view.Model, root: rich.tree.Tree) -> None:
    status = model.status
    if status.scaling is not None and (model.spec.scaling.is_automatic or status.scaling.waiting_since is not None):
        root.add(_plain(f"scaling: {status.scaling.message}"))
    condition = ready(model)
    if condition is not None and condition["status"] != "True" and status.rollout is None:
        root.add(_plain(f"not ready: {condition['reason']}: {condition['message']}"))
    if (found := drift(model)) is not None and found["status"] != "False":
        root.add(_plain(f"drift: {found['reason']}: {found['message']}"))
    for entry in status.quarantine:
        desired = ", which the spec desires" if entry.revision == model.desired else ""
        root.add(
            _plain(f"quarantine: {model.describe_revision(entry.revision)}{desired}: {entry.reason}: {entry.message}")
        )
    if model.pending is not None:
        root.add(f"[yellow]request: {model.pending.verb.value} is not carried out yet[/]")
    elif status.handled_request is not None:
        handled = status.handled_request
        root.add(_plain(f"last request: {handled.verb.value}: {handled.outcome.value}: {handled.message}"))


def _line(model: model_view.Model, place: str, name: str) -> str:
    row: RevisionStatus | None = model.row(name)
    version = f"  {row.version}" if row is not None and row.version else ""
    replicas = f"  {row.ready_replicas}/{row.wanted_replicas} replicas" if row is not None else ""
    return f"{place:<10} {model.describe_revision(name)}{version}  [bold]{weight_of(model, name):g} %[/]{replicas}"


def _plain(text: str) -> str:
    return rich.markup.escape(text)


def _colour(phase: str) -> str:
    return {"Ready": "green", "Degraded": "red", "Failed": "red", "Paused": "yellow"}.get(phase, "cyan")
