"""A route is one object of its model's: applied whole, retired, and deleted only when it is marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.fake_objects import FakeObjects

from fairlead_operator.clients import errors, paths
from fairlead_operator.effects import traffic
from fairlead_operator.state import actions, keys, route
from fairlead_operator.state.observed import RouteWrites

KEY = keys.ModelKey("ns", "digits")
PATH = paths.model_routes("ns", "digits")
REVISIONS = {"a" * 10: route.RouteRevision(cluster="gpu", aliases=("1",))}
ENTRY = route.RouteEntry(
    stable="a" * 10,
    candidate=None,
    candidate_weight=0,
    revisions=REVISIONS,
    max_request_bytes=1,
    request_timeout_s=1,
)
WRITE = actions.WriteRoute(entry=ENTRY, owner_uid="u1")
RETIRE = actions.RetireRoute(owner_uid="u1")


class Kept:
    """What the next pass sees of our writes."""

    def __init__(self) -> None:
        self.routes: dict[str, Any] = {}
        self.noted: list[RouteWrites] = []

    def wrote_route(self, body: Mapping[str, Any]) -> None:
        self.routes[body["metadata"]["name"]] = body["spec"]

    def removed_route(self, name: str, uid: str) -> None:
        self.routes.pop(name, None)

    def note_route_writes(self, writes: RouteWrites) -> None:
        self.noted.append(writes)


@pytest.fixture
def api() -> Any:
    return FakeObjects()


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def test_a_route_is_applied_with_its_owner_and_nothing_is_null(api: Any, kept: Kept) -> None:
    assert await traffic.write_route(api, KEY, WRITE, kept) == actions.Done()
    stored = api.stored[PATH]
    assert stored["kind"] == "ModelRoute"
    assert stored["metadata"]["ownerReferences"][0] == {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "ModelDeployment",
        "name": "digits",
        "uid": "u1",
        "controller": True,
        "blockOwnerDeletion": False,
    }
    assert stored["metadata"]["labels"] == {"fairlead.dev/model": "digits"}
    assert stored["spec"] == ENTRY.to_spec()
    assert None not in stored["spec"].values()
    assert api.writes == [f"apply {PATH} as fairlead-operator"]
    assert kept.routes == {"digits": ENTRY.to_spec()}, "the next pass sees it"


async def test_foreign_fields_of_a_route_are_removed(api: Any, kept: Kept) -> None:
    api.stored[PATH] = {"metadata": {}, "spec": {"candidateWeight": 5000, "sticky": {"header": "x"}}}
    assert await traffic.write_route(api, KEY, WRITE, kept) == actions.Done()
    assert api.stored[PATH]["spec"] == ENTRY.to_spec()


async def test_a_retired_route_holds_the_mark_alone(api: Any, kept: Kept) -> None:
    await traffic.write_route(api, KEY, WRITE, kept)
    assert await traffic.write_route(api, KEY, RETIRE, kept) == actions.Done()
    assert api.stored[PATH]["spec"] == route.RetiredRoute().to_spec()


async def test_a_route_of_a_model_that_is_gone_has_no_owner(api: Any, kept: Kept) -> None:
    await traffic.write_route(api, KEY, actions.RetireRoute(owner_uid=None), kept)
    assert "ownerReferences" not in api.stored[PATH]["metadata"]


async def test_only_a_retired_route_is_deleted(api: Any, kept: Kept) -> None:
    await traffic.write_route(api, KEY, WRITE, kept)
    api.stored[PATH]["metadata"]["uid"] = "u-route"
    assert isinstance(await traffic.delete_route(api, KEY, kept), actions.Refused)
    assert PATH in api.stored
    await traffic.write_route(api, KEY, RETIRE, kept)
    assert await traffic.delete_route(api, KEY, kept) == actions.Done()
    assert PATH not in api.stored
    assert await traffic.delete_route(api, KEY, kept) == actions.Done(), "it is gone already"


async def test_a_route_changed_since_it_was_read_is_not_deleted(api: Any, kept: Kept) -> None:
    await traffic.write_route(api, KEY, RETIRE, kept)
    api.stored[PATH]["metadata"]["uid"] = "u-route"
    get = api.get

    async def slow(path: str) -> dict[str, Any]:
        found: dict[str, Any] = await get(path)
        await traffic.write_route(api, KEY, WRITE, kept)
        return found

    api.get = slow
    await traffic.delete_route(api, KEY, kept)
    assert api.stored[PATH]["spec"] == ENTRY.to_spec()


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (errors.Forbidden("403"), RouteWrites.FORBIDDEN),
        (errors.NamespaceEnding("403: it is being terminated"), RouteWrites.ENDING),
    ],
)
async def test_a_retired_route_that_may_not_be_written_is_noted_and_no_failure(
    api: Any, kept: Kept, error: errors.FairleadError, noted: RouteWrites
) -> None:
    api.error = error
    assert await traffic.retire_route(api, KEY, RETIRE, kept) == actions.Done()
    assert kept.noted == [noted]
