"""The condition DriftDetected: only where the spec asks, as the alerts say, and no write while nothing changes."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest
from tests.support.merge_patch import merged
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.desired import build
from fairlead_operator.plan import planner
from fairlead_operator.state import actions
from fairlead_operator.state.drift import ByRevision, Drifting
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.status import summary

Seen = Known[ByRevision] | Unknown | None
MEAN = Drifting(feature="input0_mean", window="1h", proved=0.234)


def served(**spec: Any) -> VirtualWorld:
    world = VirtualWorld()
    world.apply("digits", model={"uri": "file:///m/1"}, **spec)
    world.settle()
    return world


def summarise(world: VirtualWorld, seen: Seen, *, later_s: int = 0) -> actions.StatusUpdate:
    view = world.view("digits")
    observed = dataclasses.replace(world.observe("digits"), drift=seen)
    desired = build.build(view, observed.revisions, world.bounds)
    now = world.now + datetime.timedelta(seconds=later_s)
    plan = planner.make(desired, observed, world.bounds, now)
    return summary.summarise(desired, view, observed, plan=plan, outcome=actions.Done(), now=now)


def condition(status: Any) -> dict[str, Any] | None:
    return next((each for each in status["conditions"] if each["type"] == "DriftDetected"), None)


def stable(world: VirtualWorld) -> str:
    name = world.view("digits").status.stable_revision
    assert name is not None
    return name


ASKS = {"monitoring": {"drift": "Condition"}}


def test_a_model_that_does_not_ask_has_no_condition() -> None:
    world = served()
    assert condition(summarise(world, Known({stable(world): MEAN})).status) is None


def test_nothing_is_said_before_prometheus_was_asked() -> None:
    assert condition(summarise(served(**ASKS), None).status) is None


@pytest.mark.parametrize(
    ("drifting", "expected"),
    [
        (
            MEAN,
            (
                "True",
                "InputDrift",
                "At least 23% of the rows of revision 1 (…) have input0_mean in other bins than the training data, "
                "over 1h when it was found.",
            ),
        ),
        (
            Drifting(feature="score", window="1d", proved=-0.01),
            (
                "True",
                "ScoreDrift",
                "The rows of revision 1 (…) have score in other bins than the answers to the evaluation data, over 1d "
                "when it was found.",
            ),
        ),
        (
            Drifting(feature="attribution", window="1d", proved=0.23),
            (
                "True",
                "AttributionDrift",
                "At least 23% of the attributions of revision 1 (…) are of other parts of the input than in the "
                "evaluation data, over 1d when it was found.",
            ),
        ),
        (None, ("False", "NoDrift", "No drift of revision 1 (…) is proved.")),
    ],
)
def test_the_condition_names_the_feature_and_the_share(
    drifting: Drifting | None, expected: tuple[str, str, str]
) -> None:
    world = served(**ASKS)
    found = condition(summarise(world, Known({stable(world): drifting, "another": MEAN})).status)
    assert found is not None
    message = found["message"].replace(stable(world), "…")
    assert (found["status"], found["reason"], message) == expected


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (Unknown("no answer within 3 s"), "Prometheus has no answer about drift: no answer within 3 s."),
        (Known({"another": MEAN}), "Prometheus compared no rows of revision 1 "),
    ],
)
def test_what_is_not_known_is_unknown(seen: Seen, message: str) -> None:
    found = condition(summarise(served(**ASKS), seen).status)
    assert found is not None
    assert (found["status"], found["reason"]) == ("Unknown", "DriftUnknown")
    assert found["message"].startswith(message)


def test_while_nothing_changes_nothing_is_written_and_a_change_is_one_event() -> None:
    world = served(**ASKS)
    name = stable(world)
    quiet, found = Known({name: None}), Known({name: MEAN})
    first = summarise(world, quiet)
    assert (list(first.patch or ()), first.events) == (["conditions"], ())
    take(world, first)
    assert summarise(world, quiet, later_s=3600).patch is None
    drifted = summarise(world, found)
    assert [(event.type, event.reason) for event in drifted.events] == [("Warning", "InputDrift")]
    take(world, drifted)
    later = summarise(world, found, later_s=3600)
    assert (later.patch, later.events) == (None, ())
    assert summarise(world, None, later_s=3600).patch is None, "a new operator has not asked Prometheus yet"


def test_the_condition_goes_when_the_spec_asks_no_more() -> None:
    world = served(**ASKS)
    take(world, summarise(world, Known({stable(world): MEAN})))
    world.change("digits", "monitoring", {"drift": "Off"})
    world.settle()
    assert condition(world.models["digits"].status) is None


def take(world: VirtualWorld, update: actions.StatusUpdate) -> None:
    """As the API server stores it."""
    stored = world.models["digits"]
    stored.status = merged(stored.status, update.patch or {})
    stored.resource_version += 1
