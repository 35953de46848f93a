"""Which class each model names: what changes is said once, and a spec that can't be read changes nothing."""

from __future__ import annotations

from tests.support import builders

from fairlead_operator import class_usage, problems
from fairlead_operator.state import keys
from fairlead_operator.state.infrastructure import Problem
from fairlead_operator.state.observed import InvalidSpec
from fairlead_operator.state.reasons import Reason

KEY = keys.ModelKey("models", "digits")
MISSING = Problem(reason=Reason.NO_SERVING_CLASS, message="No ServingClass has spec.default: true.")
REFUSED = Problem(
    reason=Reason.INFRASTRUCTURE_FAILED, message="The operator failed to apply Service x: 503. It retries."
)


def test_a_model_that_comes_moves_and_goes_is_noticed() -> None:
    used, changed = class_usage.ClassUsage(), list[str]()
    used.on_change = changed.append
    used.note(KEY, builders.model_deployment())
    used.note(KEY, builders.model_deployment())
    assert (dict(used.classes("models")), changed) == ({"digits": None}, ["models"])
    used.note(KEY, builders.model_deployment(spec={"cluster": {"class": "large"}}))
    assert (dict(used.classes("models")), len(changed)) == ({"digits": "large"}, 2)
    used.note(KEY, builders.model_deployment(spec=InvalidSpec(message="spec.model: Field required")))
    assert dict(used.classes("models")) == {"digits": "large"}
    used.remove(KEY)
    assert (dict(used.classes("models")), used.namespaces(), len(changed)) == ({}, frozenset(), 3)


def test_a_model_s_own_problem_goes_before_the_one_that_all_share() -> None:
    found, changed = problems.Problems(), list[str]()
    found.on_change = changed.append
    found.put("models", problems.NamespaceProblems(shared=REFUSED, own={"digits": MISSING}))
    found.put("models", problems.NamespaceProblems(shared=REFUSED, own={"digits": MISSING}))
    assert found.find(KEY) == MISSING
    assert found.find(keys.ModelKey("models", "other")) == REFUSED
    assert found.find(keys.ModelKey("elsewhere", "digits")) is None
    found.put("models", problems.NamespaceProblems())
    assert found.find(KEY) is None
    assert found.shared() == {}
    assert changed == ["models", "models"]


def test_the_revisions_that_have_a_place_are_known_and_another_place_is_noticed() -> None:
    used, moved = class_usage.ClassUsage(), list[keys.ModelKey]()
    used.on_places = moved.append
    rollout = {"phase": "Draining", "previousRevision": "c" * 10}
    used.note(KEY, builders.model_deployment(status={"stableRevision": "a" * 10, "rollout": rollout}))
    assert used.placed("models") == {f"digits-{'a' * 10}", f"digits-{'c' * 10}"}
    assert moved == []
    unreadable = builders.model_deployment(spec=InvalidSpec(message=""), status={"stableRevision": "a" * 10})
    used.note(KEY, unreadable)
    used.note(KEY, unreadable)
    assert (used.placed("models"), moved) == ({f"digits-{'a' * 10}"}, [KEY])
    used.remove(KEY)
    assert used.placed("models") == frozenset()
