from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator.api import names
from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.plan import planner
from fairlead_operator.state import actions
from fairlead_operator.state.gateways import Gateways, GatewaySeen, MemberState
from fairlead_operator.state.knowledge import ABSENT, Known, Unknown
from fairlead_operator.state.observed import InvalidSpec
from fairlead_operator.state.route import GatewayView, RetiredRoute, RouteLive, RouteText

AT = "2026-01-01T00:00:00Z"
RETIRED = {"rollout": {"phase": "Retired", "startedAt": AT, "stepStartedAt": AT}}
HAVING = GatewayView(id="gw-0", routes={"digits": RouteLive(version="v", revisions={})})
CONFIRMED = GatewayView(id="gw-2", routes={"digits": RouteLive(version="v", revisions={}, is_retired=True)})
ENDING = GatewayView(id="gw-3", routes={"digits": RouteLive(version=None, revisions={}, is_retired=True)})
REFUSING = dataclasses.replace(HAVING, errors={"digits": "version: is odd"})
ROUTE = Known(RouteText(text="{}"))
RETIRED_ROUTE = Known(RouteText(text=RetiredRoute().to_json()))
FREE = GatewayView(id="gw-1", routes={})
OURS = builders.application("default--digits--0123456789")
RUNS_ON_B = {"a": builders.serve(), "b": builders.serve(OURS)}
ON_B = (builders.revision(cluster="b"),)
UNREAD = Known(Gateways(members=(GatewaySeen(name="gw-0", view=Unknown("away")),)))
THEIRS = builders.application("default--digits-two--0123456789")


def members(*views: GatewayView) -> Known[Gateways]:
    return Known(Gateways(members=tuple(GatewaySeen(name=view.id, view=Known(view)) for view in views)))


def terminating(connections: int) -> Known[Gateways]:
    view = dataclasses.replace(HAVING, connections=connections)
    leaving = GatewaySeen(name="gw-0", state=MemberState.TERMINATING, view=Known(view))
    return Known(Gateways(members=(leaving,)))


def plan(
    status: dict[str, Any] | None = None, finalizers: tuple[str, ...] = (names.FINALIZER,), **seen: Any
) -> actions.Plan:
    view = builders.model_deployment(
        status=status or {}, finalizers=finalizers, deletion_timestamp=builders.NOW, spec=InvalidSpec(message="old")
    )
    fields = {"gateways": members(FREE), **seen}
    desired = InvalidSpec(message="a spec that can't be read doesn't stop a deletion")
    return planner.make(desired, builders.observed(view, **fields), builders.BOUNDS, builders.NOW)


@pytest.mark.parametrize(
    ("status", "seen", "action", "words"),
    [
        pytest.param({}, {"route": ROUTE}, actions.RetireRoute, "as retired", id="route first"),
        pytest.param({}, {"route": RETIRED_ROUTE}, actions.DeleteRoute, "Every gateway has", id="all confirmed"),
        pytest.param(
            {}, {"route": RETIRED_ROUTE, "gateways": members(CONFIRMED)}, actions.DeleteRoute, "Every", id="confirmed"
        ),
        pytest.param(
            {}, {"route": RETIRED_ROUTE, "gateways": members(FREE, ENDING)}, actions.Wait, "gw-3", id="taking it down"
        ),
        pytest.param(
            {}, {"route": RETIRED_ROUTE, "gateways": members(FREE, HAVING)}, actions.Wait, "gw-0", id="not confirmed"
        ),
        pytest.param(
            {}, {"route": RETIRED_ROUTE, "gateways": members(REFUSING)}, actions.Wait, "version: is odd", id="refused"
        ),
        pytest.param({}, {"route": RETIRED_ROUTE, "gateways": UNREAD}, actions.Wait, "gw-0", id="not to be read"),
        pytest.param({}, {"route": Unknown("503")}, actions.Wait, "503", id="route unread"),
        pytest.param({}, {"gateways": members(FREE, HAVING)}, actions.RetireRoute, "again", id="pruned"),
        pytest.param({}, {"gateways": Unknown("no list")}, actions.Wait, "no list", id="the gateways unlisted"),
        pytest.param({}, {"gateways": UNREAD}, actions.Wait, "Cannot read gateway gw-0", id="a gateway unread"),
        pytest.param({}, {"gateways": terminating(3)}, actions.RetireRoute, "again", id="one that ends has clients"),
        pytest.param(
            {}, {"gateways": terminating(0)}, actions.Wait, "Stopping its replicas", id="one that ends has none"
        ),
        pytest.param({}, {}, actions.Wait, "Stopping its replicas", id="announced before the replicas go"),
        pytest.param(
            RETIRED,
            {"serve": {"a": builders.serve(), "b": builders.serve(OURS)}},
            actions.NudgeServe,
            "default--digits--0123456789",
            id="still runs",
        ),
        pytest.param(
            RETIRED, {"serve": {"b": Unknown("refused")}, "revisions": ON_B}, actions.NudgeServe, "refused", id="unread"
        ),
        pytest.param(
            RETIRED,
            {"serve": {}, "revisions": ON_B},
            actions.NudgeServe,
            "no Ray cluster of this name",
            id="a cluster that isn't listed",
        ),
        pytest.param(
            RETIRED,
            {"serve": {"a": Unknown("refused"), "b": builders.serve(THEIRS)}, "revisions": ON_B},
            actions.RemoveFinalizer,
            "replicas are removed",
            id="all gone where it ran",
        ),
        pytest.param(RETIRED, {"serve": {}}, actions.RemoveFinalizer, "replicas are removed", id="it never ran"),
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
    assert plan(route=ROUTE).serving.phase is None


def test_other_finalizers_stay() -> None:
    made = plan(RETIRED, finalizers=("theirs", names.FINALIZER))
    assert isinstance(made.action, actions.RemoveFinalizer)
    assert made.action.finalizers == ("theirs",)
    assert isinstance(plan(RETIRED, finalizers=("theirs",)).action, actions.Wait)


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        pytest.param({"route": ROUTE}, actions.RetireRoute(owner_uid=None), id="a route"),
        pytest.param({"route": RETIRED_ROUTE}, actions.DeleteRoute(), id="a retired route"),
        pytest.param({"gateways": members(HAVING)}, actions.RetireRoute(owner_uid=None), id="a gateway's alone"),
        pytest.param({"gateways": members(CONFIRMED)}, actions.Wait(), id="nothing but a mark"),
        pytest.param({"gateways": UNREAD}, actions.Wait(), id="nothing that is known"),
        pytest.param({"route": RETIRED_ROUTE, "gateways": UNREAD}, actions.Wait(), id="not confirmed by all"),
        pytest.param({}, actions.Wait(), id="nothing"),
    ],
)
def test_what_an_object_that_is_gone_left_is_retired(seen: dict[str, Any], action: actions.Action) -> None:
    made = planner.make(ABSENT, builders.observed(None, **seen), builders.BOUNDS, builders.NOW)
    assert (made.action, made.reason.startswith("Route")) == (action, False)
    is_over = isinstance(action, actions.Wait) and "route" not in seen
    assert (made.requeue_after_s >= builders.BOUNDS.resync_s) == is_over
