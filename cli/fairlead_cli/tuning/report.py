"""What the command prints: the table, the recommendation in words, and the patch; or all of it as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import rich.table

from fairlead_cli.tuning.choosing import Proposal, Recommendation
from fairlead_cli.tuning.figures import Measured, Point, Spread
from fairlead_cli.tuning.settings import Load, Plan

MIB = 2**20


def make_table(measured: Sequence[Measured], plan: Plan) -> rich.table.Table:
    """A row for each setting and number of replicas."""
    columns = ("setting", "replicas", "requests/s each", "answered/s", "p50, ms", "p99, ms", "failed", "cores", "met")
    table = rich.table.Table(*columns, box=None)
    for each in measured:
        for count, point in each.points.items():
            table.add_row(
                each.setting.name if count == plan.replicas[0] else "",
                str(count),
                f"{point.offered:g}",
                f"{point.answered:.0f}",
                _milliseconds(point.p50),
                _milliseconds(point.p99),
                str(point.failed),
                f"{point.cores:.2f}",
                f"{point.rounds_met(plan.load)} of {len(point.blocks)}",
            )
    return table


def describe(found: Recommendation, plan: Plan, name: str) -> str:
    """The recommendation with its reason, and the patch that a person may apply."""
    proposal = found.proposal
    replicas = "1 replica" if proposal.replicas == 1 else f"{proposal.replicas} replicas"
    p99 = proposal.point.p99
    shown = f" p99 {_milliseconds(p99)} ms over {plan.rounds} rounds;" if p99 is not None else ""
    lines = [
        f"Recommended: {replicas} with {proposal.setting.name}: {found.reason}.",
        f"At {plan.load.rate:g} requests/s:{shown} {proposal.cpu:g} CPU and {proposal.memory_bytes // MIB} MiB each.",
        "",
        "Nothing was applied. To apply it:",
        f"kubectl patch mdep {name} --type merge --patch '{json.dumps(patch(proposal))}'",
    ]
    return "\n".join(lines)


def describe_none(measured: Sequence[Measured], plan: Plan, closest: Point | None) -> str:
    """Why nothing is recommended, and what came nearest."""
    target = f"{plan.load.rate:g} requests/s with a p99 of at most {plan.load.latency_max_s * 1e3:g} ms"
    tried = len(measured) * len(plan.replicas)
    words = f"No setting meets the target: none of the {tried} that were measured answers {target} in every round."
    if closest is None:
        return f"{words} None answered anything."
    replicas = "1 replica" if closest.replicas == 1 else f"{closest.replicas} replicas"
    met = f"{closest.rounds_met(plan.load)} of {len(closest.blocks)} rounds"
    advice = (
        "Try more replicas (--replicas), a higher target, or a faster model (fairlead compare, spec.serving.engine)."
    )
    near = f"The nearest is {replicas} with {closest.setting.name}: p99 {_milliseconds(closest.p99)} ms, met in {met}"
    return f"{words} {near}. {advice}"


def describe_machine() -> str:
    """What the figures depend on besides the model."""
    return (
        f"Measured on {os.cpu_count()} cores with a load average of {os.getloadavg()[0]:.1f}, client and replica on it."
    )


def patch(proposal: Proposal) -> dict[str, Any]:
    """A JSON merge patch of the ModelDeployment."""
    setting = proposal.setting
    batching: dict[str, object] = {"mode": "Off", "maxRows": None, "maxDelayMilliseconds": None}
    if setting.rows is not None:
        batching = {"mode": "Auto", "maxRows": setting.rows, "maxDelayMilliseconds": setting.delay_ms}
    resources = {"cpu": f"{round(proposal.cpu * 1000)}m", "memory": f"{proposal.memory_bytes // MIB}Mi"}
    return {
        "spec": {
            "scaling": {"replicas": proposal.replicas},
            "serving": {"resources": resources, "batching": batching},
        }
    }


def to_json(measured: Sequence[Measured], plan: Plan, found: Recommendation | None) -> dict[str, Any]:
    """All figures; `recommendation` is null where no setting meets the target."""
    return {
        "load": {"requestsPerSecond": plan.load.rate, "p99SecondsMax": plan.load.latency_max_s},
        "machine": {"cores": os.cpu_count(), "loadAverage": os.getloadavg()[0]},
        "rounds": plan.rounds,
        "points": [_point(each, point, plan.load) for each in measured for point in each.points.values()],
        "recommendation": None
        if found is None
        else {
            "setting": found.proposal.setting.name,
            "replicas": found.proposal.replicas,
            "reason": found.reason,
            "patch": patch(found.proposal),
        },
    }


def _point(measured: Measured, point: Point, load: Load) -> dict[str, Any]:
    return {
        "setting": measured.setting.name,
        "threads": measured.setting.threads,
        "maxRows": measured.setting.rows,
        "maxDelayMilliseconds": measured.setting.delay_ms,
        "replicas": point.replicas,
        "offeredPerSecond": point.offered,
        "answeredPerSecond": point.answered,
        "requests": sum(each.requests for each in point.blocks),
        "failed": point.failed,
        "p50Seconds": _spread(point.p50),
        "p99Seconds": _spread(point.p99),
        "cores": point.cores,
        "memoryBytes": measured.memory_bytes,
        "roundsMet": point.rounds_met(load),
    }


def _spread(found: Spread | None) -> dict[str, float] | None:
    return None if found is None else {"median": found.median, "least": found.least, "most": found.most}


def _milliseconds(found: Spread | None) -> str:
    if found is None:
        return "-"
    return f"{found.median * 1e3:.2f} ({found.least * 1e3:.2f} to {found.most * 1e3:.2f})"
