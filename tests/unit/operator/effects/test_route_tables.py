"""The route table is written one key a model, and what meets goes out together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.fake_objects import FakeObjects

from fairlead_operator.clients import errors, paths
from fairlead_operator.effects import traffic
from fairlead_operator.state import actions, keys, route

TABLE = paths.routes("ns")
ENTRY = route.RouteEntry(
    stable=None, candidate=None, candidate_weight=0, revisions={}, max_request_bytes=1, request_timeout_s=1
)


def key(number: int) -> keys.ModelKey:
    return keys.ModelKey("ns", f"m{number}")


class SlowObjects(FakeObjects):
    """Each patch takes a turn of the loop, so that others meet it; what holds a refused key is refused."""

    def __init__(self, *, refused: str | None = None) -> None:
        super().__init__()
        self._refused = refused

    async def merge_patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if self._refused is not None and body["data"].get(self._refused) is not None:
            raise errors.Refused("too large")
        return await super().merge_patch(path, body)

    def table(self) -> dict[str, Any]:
        return dict(self.stored[TABLE].get("data", {}))

    @property
    def patches(self) -> int:
        return sum(write.startswith("patch") for write in self.writes)


async def test_routes_of_two_models_do_not_overwrite_each_other() -> None:
    api: Any = SlowObjects()
    tables = traffic.RouteTables(api, lambda *_: None)
    await tables.write(key(1), ENTRY)
    await tables.write(key(2), ENTRY)
    assert api.table() == {"m1": ENTRY.to_json(), "m2": ENTRY.to_json()}
    await tables.delete(key(1))
    assert set(api.table()) == {"m2"}


async def test_deleting_a_route_where_there_is_no_table_is_done() -> None:
    api: Any = SlowObjects()
    assert await traffic.RouteTables(api, lambda *_: None).delete(key(1)) == actions.Done()
    assert api.stored == {}


async def test_a_crowd_that_meets_is_written_in_few_patches() -> None:
    api: Any = SlowObjects()
    tables = traffic.RouteTables(api, lambda *_: None)
    await tables.write(key(0), ENTRY)
    before = api.patches
    outcomes = await asyncio.gather(*(tables.write(key(number), ENTRY) for number in range(200)))
    assert set(outcomes) == {actions.Done()}
    assert len(api.table()) == 200
    assert api.patches - before <= 2


async def test_a_key_that_is_refused_holds_up_no_other() -> None:
    api: Any = SlowObjects(refused="m3")
    tables = traffic.RouteTables(api, lambda *_: None)
    await tables.write(key(0), ENTRY)
    outcomes = await asyncio.gather(*(tables.write(key(number), ENTRY) for number in range(6)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(errors.Refused) == 1
    assert isinstance(outcomes[3], errors.Refused)
    assert set(api.table()) == {"m0", "m1", "m2", "m4", "m5"}


async def test_a_writer_that_is_cancelled_takes_nobody_with_it() -> None:
    api: Any = SlowObjects()
    tables = traffic.RouteTables(api, lambda *_: None)
    await tables.write(key(0), ENTRY)
    first = asyncio.ensure_future(tables.write(key(1), ENTRY))
    second = asyncio.ensure_future(tables.write(key(2), ENTRY))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == actions.Done()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert "m2" in api.table()


async def test_every_table_that_was_written_is_handed_on_as_the_api_server_has_it() -> None:
    api: Any = SlowObjects(refused="m1")
    written: list[tuple[str, Mapping[str, Any]]] = []
    tables = traffic.RouteTables(api, lambda namespace, body: written.append((namespace, body)))
    await asyncio.gather(*(tables.write(key(n), ENTRY) for n in range(3)), return_exceptions=True)
    assert {namespace for namespace, _ in written} == {"ns"}
    assert written[-1][1]["data"] == api.table()
