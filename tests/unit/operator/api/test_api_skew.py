"""A CRD that is older than the operator is found out, by its schema and by what it drops."""

from __future__ import annotations

import copy
from typing import Any

from fairlead_operator.api import crd, names, skew


def served(schema: dict[str, Any]) -> dict[str, Any]:
    """As the API server shows it."""
    kind = {"group": names.GROUP, "version": names.VERSION, "kind": names.KIND}
    parts = {name: schema["properties"][name] for name in ("spec", "status")}
    other = {"x-kubernetes-group-version-kind": [{**kind, "kind": "Other"}], "properties": {}}
    shown = {"x-kubernetes-group-version-kind": [kind], "properties": {**parts, "metadata": {}}}
    return {"components": {"schemas": {"other": other, "ours": shown}}}


def test_a_crd_of_the_same_version_lacks_nothing() -> None:
    own = crd.root_schema()
    found = skew.find_schema(served(own))
    assert found is not None
    assert skew.missing_from(found, skew.comparable(own)) == ()


def test_fields_and_enum_values_that_an_older_crd_lacks_are_named() -> None:
    own = crd.root_schema()
    old = copy.deepcopy(own)
    del old["properties"]["status"]["properties"]["lastStableRevision"]
    del old["properties"]["spec"]["properties"]["rollout"]["properties"]["rollbackWindow"]
    del old["properties"]["status"]["properties"]["conditions"]["items"]["properties"]["reason"]
    old["properties"]["status"]["properties"]["phase"]["enum"].remove("Ready")
    found = skew.find_schema(served(old))
    assert found is not None
    assert skew.missing_from(found, skew.comparable(own)) == (
        "spec.rollout.rollbackWindow",
        "status.conditions[].reason",
        "status.lastStableRevision",
        "status.phase=Ready",
    )


def test_an_api_server_without_our_kind_shows_no_schema() -> None:
    assert skew.find_schema({"components": {"schemas": {}}}) is None
    assert skew.find_schema({}) is None


def test_fields_missing_in_the_answer_to_a_write_were_dropped() -> None:
    sent = {
        "phase": "Ready",
        "lastStableRevision": "a",
        "rollout": {"phase": "Starting", "newField": 1, "removed": None},
        "conditions": [{"type": "Ready", "newer": True}, {"type": "Stalled"}],
        "gone": None,
    }
    stored = {
        "phase": "Ready",
        "rollout": {"phase": "Starting", "old": 1},
        "conditions": [{"type": "Ready"}, {"type": "Stalled"}],
    }
    assert skew.dropped(sent, stored) == ("conditions[].newer", "lastStableRevision", "rollout.newField")
    assert skew.dropped(sent, sent) == ()
