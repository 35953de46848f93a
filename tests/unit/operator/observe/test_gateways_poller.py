"""What the gateways say is read in the background; requests in flight wake nobody who does not wait for their end."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors
from fairlead_operator.observe import fingerprint, gateway, readers, source
from fairlead_operator.state import directory, knowledge, route
from fairlead_operator.state.gateways import SILENT_MAX_S, MemberState

VIEW = route.GatewayView(
    id="gateway-0",
    routes={"digits": route.RouteLive(version="v1", revisions={"r": route.RevisionLive(up=1, draining=0, sessions=0)})},
)


def with_sessions(count: int) -> route.GatewayView:
    live = route.RouteLive(version="v1", revisions={"r": route.RevisionLive(up=1, draining=0, sessions=count)})
    return dataclasses.replace(VIEW, routes={"digits": live})


class Place:
    def __init__(self) -> None:
        self.views: dict[str, route.GatewayView | errors.FairleadError] = {"a": VIEW, "b": VIEW}
        self.heard: list[str] = []
        self.version = "e-0"
        self.asked: list[tuple[str, str | None]] = []
        self.is_hot = False
        self.clock = HandClock()
        self.members_now = {name: directory.Gateway(name=name, data_url=name, admin_url=name) for name in ("a", "b")}
        self.poller = gateway.GatewaysPoller(
            self,
            self,
            "ns",
            readers.Readers(
                clock=self.clock, idle_interval_s=0.01, is_hot=lambda _: self.is_hot, on_answer=self.heard.append
            ),
        )

    def members(self, namespace: str) -> knowledge.Known[tuple[directory.Gateway, ...]]:
        assert namespace == "ns"
        return knowledge.Known(tuple(self.members_now.values()))

    def loses_readiness(self, name: str) -> None:
        self.members_now[name] = dataclasses.replace(self.members_now[name], state=MemberState.TERMINATING)

    async def seen_after(self, seconds: float) -> list[str]:
        """The gateways that may still have clients, asked until then every few seconds."""
        for _ in range(int(seconds / 5)):
            self.clock.seconds += 5
            for reader in self.poller._by_url.values():
                await reader.source.read_once()
            found = await self.evidence()
        assert isinstance(found, knowledge.Known)
        return [member.name for member in found.value.members]

    def parse_s(self, _: str) -> float:
        return 0.0

    async def fetch_view(self, admin_url: str) -> route.GatewayView:
        found = self.views[admin_url]
        if isinstance(found, errors.FairleadError):
            raise found
        return found

    async def wait_for_change(self, admin_url: str, *, since: str | None, wait_s: float) -> str:
        self.asked.append((admin_url, since))
        if since == self.version:
            await asyncio.sleep(wait_s)
        return self.version

    async def evidence(self) -> gateway.GatewaysEvidence:
        while isinstance(found := self.poller.latest(), source.Pending):
            await asyncio.sleep(0.005)
        return found


async def heard_after(place: Place, change: route.GatewayView) -> int:
    await place.evidence()
    before = len(place.heard)
    place.views["a"] = change
    await place.poller._by_url["a"].source.read_once()
    return len(place.heard) - before


async def test_an_unreadable_gateway_alone_is_unknown() -> None:
    place = Place()
    place.views["b"] = errors.Unreachable("away")
    found = await place.evidence()
    assert isinstance(found, knowledge.Known)
    views = [member.view for member in found.value.members]
    assert views == [knowledge.Known(VIEW), knowledge.Unknown("away")]


async def test_one_that_is_neither_ready_nor_readable_counts_for_a_bounded_time() -> None:
    place = Place()
    place.views["b"] = errors.Unreachable("away")
    place.loses_readiness("b")
    await place.evidence()
    assert await place.seen_after(SILENT_MAX_S) == ["a", "b"], "its container may still run"
    assert await place.seen_after(5) == ["a"]
    place.views["b"] = VIEW
    assert await place.seen_after(5) == ["a", "b"], "it answers, so what it says counts"
    place.views["b"] = errors.Unreachable("away")
    assert await place.seen_after(SILENT_MAX_S) == ["a", "b"], "it is waited for once more"


async def test_a_ready_one_that_cannot_be_read_counts_without_limit() -> None:
    place = Place()
    place.views["b"] = errors.Unreachable("away")
    await place.evidence()
    assert await place.seen_after(4 * SILENT_MAX_S) == ["a", "b"]
    place.loses_readiness("b")
    await place.evidence()
    assert await place.seen_after(SILENT_MAX_S) == ["a", "b"], "it had clients until now"
    assert await place.seen_after(5) == ["a"]


@pytest.mark.parametrize(("is_hot", "reports"), [(False, 0), (True, 1)])
async def test_requests_in_flight_are_reported_only_while_a_model_may_wait_for_them(is_hot: bool, reports: int) -> None:
    place = Place()
    place.is_hot = is_hot
    assert await heard_after(place, with_sessions(3)) == reports
    assert await heard_after(place, with_sessions(7)) == 0, "how many doesn't matter"


async def test_a_change_is_heard_of_once_and_the_first_version_is_none() -> None:
    place = Place()
    await place.evidence()
    reader = place.poller._by_url["a"]
    reader.reading.cancel()  # here the test asks in its place
    await asyncio.gather(reader.reading, return_exceptions=True)
    await_change = reader.source.await_change
    assert await_change is not None
    place.asked.clear()
    place.poller._versions.clear()
    assert not await await_change(0.01)
    assert not await await_change(0.01)
    place.version = "e-1"
    assert await await_change(0.01)
    assert not await await_change(0.01)
    asked = [since for url, since in place.asked if url == "a"]
    assert asked[:4] == [None, "e-0", "e-0", "e-1"]


async def test_another_number_of_listed_replicas_hurries_ray_and_wakes_no_model() -> None:
    place, hurried = Place(), []
    place.poller.on_replicas = lambda: hurried.append(1)
    assert await heard_after(place, VIEW) == 0
    assert hurried == []
    assert await heard_after(place, dataclasses.replace(VIEW, replicas=1)) == 0
    assert hurried == [1]


async def test_a_relevant_change_is_reported() -> None:
    place = Place()
    assert await heard_after(place, dataclasses.replace(VIEW, failure="no table")) == 1


def test_the_end_of_requests_in_flight_changes_the_fingerprint_of_waiting_models_only() -> None:
    def world(view: route.GatewayView) -> fingerprint.World:
        member = gateway.gateways.GatewaySeen(name="a", view=knowledge.Known(view))
        return fingerprint.World("ns", {}, {}, [(member, fingerprint.GatewayParts(member.view))], {})

    busy, calm = world(with_sessions(3)), world(with_sessions(0))
    assert busy.hash_model("digits") == calm.hash_model("digits")
    assert busy.hash_model("digits", is_hot=True) != calm.hash_model("digits", is_hot=True)
    assert busy.hash_model("digits", is_hot=True) == world(with_sessions(9)).hash_model("digits", is_hot=True)
