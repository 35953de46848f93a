"""A model whose namespace lacks something waits and says why; one that serves goes on serving."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support import builders

from fairlead_operator.desired import build
from fairlead_operator.plan import planner
from fairlead_operator.state.actions import CreateRevision, Plan, Wait
from fairlead_operator.state.directory import Unplaced
from fairlead_operator.state.infrastructure import Problem
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.observed import ModelDeploymentView, Observed
from fairlead_operator.state.reasons import Reason

NO_CLASS = Problem(reason=Reason.NO_SERVING_CLASS, message="No ServingClass has spec.default: true.")
REFUSED = Problem(
    reason=Reason.INFRASTRUCTURE_FAILED, message="The operator failed to apply Service x: 503. It retries."
)


def plan_of(seen: Observed) -> Plan:
    assert isinstance(seen.object, Known)
    view: ModelDeploymentView = seen.object.value
    desired = build.build(view, seen.revisions, builders.BOUNDS)
    return planner.make(desired, seen, builders.BOUNDS, builders.NOW)


@pytest.mark.parametrize("problem", [NO_CLASS, REFUSED])
def test_a_model_that_never_served_waits_with_the_problem(problem: Problem) -> None:
    seen = replace(builders.observed(builders.model_deployment()), problem=problem)
    decided = plan_of(seen)
    assert isinstance(decided.action, Wait)
    assert decided.reason is problem.reason
    assert decided.message.startswith(problem.message.rstrip("."))


@pytest.mark.parametrize(("problem", "goes_on"), [(NO_CLASS, False), (REFUSED, True)])
def test_a_model_that_serves_begins_no_revision_without_a_class(problem: Problem, goes_on: bool) -> None:
    stable = builders.revision()
    view = builders.model_deployment(
        spec={"model": {"uri": "file:///models/digits/2"}}, status={"stableRevision": stable.revision}
    )
    unplaced = None if goes_on else Unplaced(reason=problem.reason, message=problem.message)
    seen = replace(builders.observed(view, revisions=(stable,)), problem=problem, unplaced=unplaced)
    decided = plan_of(seen)
    assert isinstance(decided.action, CreateRevision) == goes_on
    assert (decided.reason is problem.reason) != goes_on
