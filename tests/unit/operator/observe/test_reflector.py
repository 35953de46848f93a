"""A collection kept by list and watch: our own writes are in it at once, and it never goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors
from fairlead_operator.observe import reflector

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]


def item(name: str, version: int, text: str = "", uid: str | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": str(version), "uid": uid or f"u-{name}"}, "text": text}


class Api:
    """Lists what a test sets, and streams what it sends."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.version = 10
        self.lists = 0
        self.asked_from: list[str] = []
        self.error: errors.FairleadError | None = None
        self.stream: asyncio.Queue[dict[str, Any] | errors.FairleadError | None] = asyncio.Queue()

    async def list_all(self, path: str, **_: Any) -> tuple[list[dict[str, Any]], str]:
        self.lists += 1
        if self.error is not None:
            raise self.error
        return list(self.items), str(self.version)

    async def watch(self, path: str, *, resource_version: str, **_: Any) -> AsyncIterator[dict[str, Any]]:
        self.asked_from.append(resource_version)
        while (event := await self.stream.get()) is not None:
            if isinstance(event, errors.FairleadError):
                raise event
            yield event


class Place:
    def __init__(self) -> None:
        self.api = Api()
        self.clock = HandClock()
        self.changed: list[str] = []
        collection = reflector.Collection(path="/things")
        self.kept: reflector.Reflector[str] = reflector.Reflector(
            self.api, collection, _view, clock=self.clock, on_change=self.changed.append
        )
        self.task = asyncio.create_task(self.kept.run())

    async def send(self, kind: str, body: Mapping[str, Any]) -> None:
        self.api.stream.put_nowait({"type": kind, "object": body})
        await asyncio.sleep(0.01)


def _view(body: Mapping[str, Any]) -> str | None:
    return str(body["text"])


async def test_a_reflector_lists_and_then_watches() -> None:
    place = Place()
    place.api.items = [item("a", 5, "one"), item("b", 6, "two")]
    assert not place.kept.is_listed
    await asyncio.sleep(0.01)
    assert place.kept.is_listed
    await place.send("MODIFIED", item("a", 11, "three"))
    await place.send("DELETED", item("b", 12))
    await place.send("BOOKMARK", item("", 20))
    assert place.kept.values == {"a": "three"}
    place.api.stream.put_nowait(None)
    await asyncio.sleep(0.01)
    assert place.api.asked_from == ["10", "20"], "a stream that ends is followed by the next one, without a list"
    assert place.api.lists == 1
    place.task.cancel()


async def test_our_own_write_is_visible_at_once_and_not_replaced_by_an_older_version() -> None:
    place = Place()
    await asyncio.sleep(0.01)
    place.kept.wrote(item("a", 30, "ours"))
    assert place.kept.get("a") == "ours"
    await place.send("ADDED", item("a", 25, "older"))
    assert place.kept.get("a") == "ours"
    place.api.items, place.api.version = [], 20
    place.api.stream.put_nowait(errors.Expired("410"))
    await asyncio.sleep(3)
    assert place.api.lists == 2
    assert place.kept.get("a") == "ours", "a list of before the write doesn't have it"
    place.api.version = 40
    place.api.stream.put_nowait(errors.Expired("410"))
    await asyncio.sleep(5)
    assert place.kept.get("a") is None, "a list of after it does say that it is gone"
    place.task.cancel()


async def test_a_deleted_object_does_not_return_with_an_older_event() -> None:
    place = Place()
    place.api.items = [item("a", 5, "one")]
    await asyncio.sleep(0.01)
    place.kept.removed("a", "u-a")
    assert place.kept.get("a") is None
    await place.send("MODIFIED", item("a", 11, "late"))
    assert place.kept.get("a") is None
    await place.send("DELETED", item("a", 12))
    await place.send("ADDED", item("a", 13, "another", uid="u-other"))
    assert place.kept.get("a") == "another"
    place.task.cancel()


async def test_only_changed_objects_are_reported() -> None:
    place = Place()
    place.api.items = [item("a", 5, "one")]
    await asyncio.sleep(0.01)
    assert place.changed == ["a", ""]
    await place.send("MODIFIED", item("a", 11, "one"))
    assert place.changed == ["a", ""]
    place.task.cancel()


async def test_a_refused_list_is_an_error_and_retried_with_growing_delays() -> None:
    place = Place()
    place.api.error = errors.Forbidden("403")
    await asyncio.sleep(100)
    assert isinstance(place.kept.error, errors.Forbidden)
    assert not place.kept.is_listed
    assert 5 <= place.api.lists <= 9
    place.api.error = None
    await asyncio.sleep(40)
    assert place.kept.error is None
    assert place.kept.is_listed
    place.task.cancel()


async def test_a_long_silence_is_an_error() -> None:
    place = Place()
    await asyncio.sleep(0.01)
    place.clock.seconds += reflector.OUT_OF_TOUCH_S + 1
    assert isinstance(place.kept.error, errors.Unreachable)
    await place.send("BOOKMARK", item("", 20))
    assert place.kept.error is None
    place.task.cancel()


async def test_a_collection_is_listed_once_more_where_its_watch_was_silent() -> None:
    """An API server whose etcd reports no progress sends no bookmarks for what doesn't change."""
    place = Place()
    await asyncio.sleep(0.01)
    place.clock.seconds += reflector.OUT_OF_TOUCH_S + 1
    place.api.stream.put_nowait(errors.Unreachable("no answer within 90 s"))
    await asyncio.sleep(3)
    assert place.api.lists == 2
    assert place.kept.error is None
    place.task.cancel()


async def test_a_list_that_stays_refused_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A namespace that is gone, or that the operator may not read, is listed again without a line each time."""
    place = Place()
    place.api.error = errors.Forbidden("403")
    await asyncio.sleep(300)
    assert place.api.lists > 8
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    place.api.error = errors.Unreachable("refused")
    await asyncio.sleep(100)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2, "another error is news"
    place.task.cancel()


async def test_objects_of_one_name_in_two_namespaces_are_two() -> None:
    api, changed = Api(), list[str]()
    api.items = [item("a", 5, "one"), item("a", 6, "two", uid="u-2")]
    for body, namespace in zip(api.items, ("left", "right"), strict=True):
        body["metadata"]["namespace"] = namespace
    collection = reflector.Collection(path="/things")
    kept = reflector.Reflector(
        api,
        collection,
        _view,
        clock=HandClock(),
        on_change=changed.append,
        key_of=reflector.qualified_name_of,
    )
    task = asyncio.create_task(kept.run())
    await asyncio.sleep(0.01)
    assert kept.values == {"left/a": "one", "right/a": "two"}
    gone = {"metadata": {**api.items[0]["metadata"], "resourceVersion": "11"}}
    api.stream.put_nowait({"type": "DELETED", "object": gone})
    await asyncio.sleep(0.01)
    assert kept.values == {"right/a": "two"}
    assert changed == ["left/a", "right/a", "", "left/a"]
    task.cancel()
