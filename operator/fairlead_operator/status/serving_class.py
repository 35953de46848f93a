"""The condition Ready of a serving class."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead_operator.api.status import Condition, ConditionStatus
from fairlead_operator.api.text import bounded
from fairlead_operator.state.consequences import consequence_of
from fairlead_operator.state.infrastructure import Problem
from fairlead_operator.state.reasons import ClassReason
from fairlead_operator.state.time import whole_second

READY = "Ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedClass:
    """``unreadable`` says why the spec can't be read. ``defaults`` are all classes that are marked so, oldest first.

    ``problems`` are those of namespaces that use the class, by namespace. ``workers_min`` is the spec's.
    """

    name: str
    generation: int
    unreadable: str | None = None
    workers_min: int | None = None
    defaults: Sequence[str] = ()
    problems: Mapping[str, Problem] = field(default_factory=dict)
    conditions: Sequence[Condition] = ()


def settle(seen: ObservedClass, now: datetime.datetime) -> Condition:
    """The condition with its history: the transition time changes only with the status."""
    status, reason, message = _judge(seen)
    before = next((each for each in seen.conditions if each.type == READY), None)
    is_same = before is not None and before.status is status
    return Condition(
        type=READY,
        status=status,
        observed_generation=seen.generation,
        last_transition_time=before.last_transition_time if before is not None and is_same else whole_second(now),
        reason=reason,
        message=str(bounded(message)),
    )


def _judge(seen: ObservedClass) -> tuple[ConditionStatus, str, str]:
    if seen.unreadable is not None:
        message = f"This version of the operator can't read the spec: {seen.unreadable}"
        return ConditionStatus.FALSE, ClassReason.INVALID_SPEC, message
    if seen.name in seen.defaults and len(seen.defaults) > 1:
        message = (
            f"{len(seen.defaults)} serving classes have spec.default: true: {', '.join(seen.defaults)}. "
            f"The oldest, {seen.defaults[0]}, is used. Set spec.default: false in the others."
        )
        return ConditionStatus.FALSE, ClassReason.SEVERAL_DEFAULTS, message
    for namespace, problem in sorted(seen.problems.items()):
        message = f"In namespace {namespace}: {problem.message} {consequence_of(problem.reason).advice}".rstrip()
        return ConditionStatus.FALSE, problem.reason, message
    message = "Every namespace that uses the class has what its models need."
    if seen.workers_min == 1:
        message += " With spec.workers.min: 1, requests fail while the node of the only worker is drained."
    return ConditionStatus.TRUE, ClassReason.READY, message
