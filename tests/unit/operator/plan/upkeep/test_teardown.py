from __future__ import annotations

from typing import Any

import pytest
from tests.support import builders

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.plan import planner
from fairlead_operator.state import actions
from fairlead_operator.state.knowledge import ABSENT, Known, Unknown
from fairlead_operator.state.observed import InvalidSpec
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import GatewayView, RouteLive, RouteText

AT = "2026-01-01T00:00:00Z"
RETIRED = {"rollout": {"phase": "Retired", "startedAt": AT, "stepStartedAt": AT}}
HAVING = GatewayView(id="gw-0", routes={"digits": RouteLive(version="v", revisions={})})
FREE = GatewayView(id="gw-1", routes={})
OURS = builders.application("default--digits--0123456789")
THEIRS = builders.application("default--digits-two--0123456789")


def plan(
    status: dict[str, Any] | None = None, finalizers: tuple[str, ...] = (names.FINALIZER,), **seen: Any
) -> actions.Plan:
    view = builders.model_deployment(
        status=status or {}, finalizers=finalizers, deletion_timestamp=builders.NOW, spec=InvalidSpec(message="old")
    )
    fields = {"gateways": Known((FREE,)), **seen}
    wish = InvalidSpec(message="a spec that can't be read doesn't stop a deletion")
    return planner.make(wish, builders.observed(view, **fields), builders.BOUNDS, builders.NOW)


@pytest.mark.parametrize(
    ("status", "seen", "action", "words"),
    [
        pytest.param(
            {}, {"route": Known(RouteText(text="{}"))}, actions.DeleteRoute, "route is deleted", id="route first"
        ),
        pytest.param({}, {"route": Unknown("503")}, actions.Wait, "503", id="route unread"),
        pytest.param({}, {"gateways": Known((FREE, HAVING))}, actions.Wait, "gw-0", id="a gateway still has it"),
        pytest.param({}, {"gateways": Unknown("gw-0 is away")}, actions.Wait, "gw-0 is away", id="a gateway unread"),
        pytest.param({}, {}, actions.Wait, "replicas may go", id="announced before the replicas go"),
        pytest.param(
            RETIRED, {"serve": builders.serve(OURS)}, actions.NudgeServe, "default--digits--0123456789", id="still runs"
        ),
        pytest.param(RETIRED, {"serve": Unknown("refused")}, actions.NudgeServe, "refused", id="Ray unread"),
        pytest.param(RETIRED, {"serve": builders.serve(THEIRS)}, actions.RemoveFinalizer, "gone", id="all gone"),
        pytest.param(RETIRED, {"serve": ABSENT}, actions.RemoveFinalizer, "gone", id="no Ray cluster any more"),
    ],
)
def test_a_deletion_goes_step_by_step_on_evidence(
    status: dict[str, Any], seen: dict[str, Any], action: type, words: str
) -> None:
    made = plan(status, **seen)
    assert isinstance(made.action, action)
    assert words in made.message


def test_replicas_may_go_only_after_that_was_announced() -> None:
    assert plan().serving.phase is RolloutPhase.RETIRED
    assert plan(route=Known(RouteText(text="{}"))).serving.phase is None


def test_other_finalizers_stay() -> None:
    made = plan(RETIRED, finalizers=("theirs", names.FINALIZER))
    assert isinstance(made.action, actions.RemoveFinalizer)
    assert made.action.finalizers == ("theirs",)
    assert isinstance(plan(RETIRED, finalizers=("theirs",)).action, actions.Wait)


def test_the_route_of_an_object_that_is_gone_is_deleted() -> None:
    seen = builders.observed(None, route=Known(RouteText(text="{}")))
    assert isinstance(planner.make(ABSENT, seen, builders.BOUNDS, builders.NOW).action, actions.DeleteRoute)
    gone = planner.make(ABSENT, builders.observed(None), builders.BOUNDS, builders.NOW)
    assert (gone.action, gone.reason) == (actions.Wait(), Reason.DELETING)
