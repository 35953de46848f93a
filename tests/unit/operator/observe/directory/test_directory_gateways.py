"""Gateways from EndpointSlices: who counts, who is gone, and what can't be read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import fake_watches
from tests.support.endpoint_slices import Endpoint
from tests.support.fake_watches import FakeWatches
from tests.support.hand_clock import HandClock

from fairlead_operator.clients import errors, paths
from fairlead_operator.observe.directory import gateways
from fairlead_operator.state.gateways import MemberState
from fairlead_operator.state.knowledge import Known, Unknown

pytestmark = [pytest.mark.looptime, pytest.mark.asyncio]

SLICES = paths.endpoint_slices(None)
READY, TERMINATING = MemberState.READY, MemberState.TERMINATING


def one(number: int, *, is_ready: bool = True, is_ending: bool = False) -> Endpoint:
    return Endpoint(f"10.0.0.{number}", is_ready=is_ready, is_ending=is_ending, pod=f"gateway-{number}")


def content(*endpoints: Endpoint, **changed: Any) -> dict[str, Any]:
    return {
        "addressType": "IPv4",
        "ports": [{"name": "data", "port": 8080}, {"name": "admin", "port": 8081}],
        "endpoints": [each.body() for each in endpoints],
        **changed,
    }


class World:
    def __init__(self, *namespaces: str) -> None:
        self.api = FakeWatches()
        self.path = paths.endpoint_slices(namespaces[0] if namespaces else None)
        self.changed: list[str | None] = []
        self.found = gateways.KubernetesGateways(self.api, namespaces, clock=HandClock(), on_change=self.changed.append)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        async with fake_watches.running(self.found.run()):
            yield self

    async def write(self, *endpoints: Endpoint, name: str = "s", namespace: str = "a", **changed: Any) -> None:
        await self.api.put(self.path, name, namespace=namespace, **content(*endpoints, **changed))

    def states(self, namespace: str = "a") -> dict[str, MemberState]:
        found = self.found.members(namespace)
        assert isinstance(found, Known), found
        return {each.name: each.state for each in found.value}

    def problem(self, namespace: str = "a") -> str:
        found = self.found.members(namespace)
        assert isinstance(found, Unknown), found
        return found.reason


async def test_nothing_is_known_before_the_first_list() -> None:
    world = World()
    assert "not read yet" in world.problem()
    async with world.running():
        assert world.states() == {}
        assert world.api.selectors[SLICES].labels == (
            "fairlead.dev/endpoints=gateways,kubernetes.io/service-name=fairlead-gateway-members"
        )


async def test_members_become_ready_end_and_are_gone_each_in_its_namespace() -> None:
    async with World().running() as world:
        await world.write(one(1), one(2, is_ready=False))
        await world.write(one(3), namespace="b")
        assert world.states() == {"gateway-1": READY}, "one that was never ready has no client"
        assert world.states("b") == {"gateway-3": READY}
        await world.write(one(1), one(2))
        assert world.states() == {"gateway-1": READY, "gateway-2": READY}
        await world.write(one(1, is_ready=False), one(2, is_ending=True))
        assert world.states() == {"gateway-1": TERMINATING, "gateway-2": TERMINATING}
        await world.write(one(1))
        assert world.states() == {"gateway-1": READY}
        world.changed.clear()
        await world.api.remove(SLICES, "s", namespace="a")
        assert world.states() == {}
        assert world.changed == ["a"]


async def test_one_that_ends_counts_also_for_an_operator_that_never_saw_it_ready() -> None:
    async with World().running() as world:
        await world.write(one(1, is_ready=False, is_ending=True))
        assert world.states() == {"gateway-1": TERMINATING}


@pytest.mark.parametrize("served", [(), ("a",)])
async def test_one_that_is_not_ready_when_the_operator_starts_may_have_clients(served: tuple[str, ...]) -> None:
    """It was ready perhaps, and still sends its open connections to a revision that leaves."""
    world = World(*served)
    await world.write(one(1), one(2, is_ready=False))
    async with world.running():
        assert world.states() == {"gateway-1": READY, "gateway-2": TERMINATING}
        await world.write(one(1), one(2, is_ready=False), one(3, is_ready=False))
        assert world.states() == {"gateway-1": READY, "gateway-2": TERMINATING}, "the third one came later"
        await world.write(one(1), one(3, is_ready=False))
        assert world.states() == {"gateway-1": READY}


@pytest.mark.parametrize("served", [(), ("a",)])
async def test_one_that_loses_its_readiness_before_the_first_question_may_have_clients(served: tuple[str, ...]) -> None:
    world = World(*served)
    await world.write(one(1))
    async with world.running():
        await world.write(one(1, is_ready=False))
        assert world.states() == {"gateway-1": TERMINATING}


async def test_one_in_a_slice_that_could_not_be_read_at_the_start_may_have_clients() -> None:
    world = World()
    await world.write(one(1), ports=None)
    async with world.running():
        assert "no ports called" in world.problem()
        await world.write(one(1, is_ready=False))
        assert world.states() == {"gateway-1": TERMINATING}


async def test_a_pod_that_came_back_under_its_name_is_new() -> None:
    async with World().running() as world:
        await world.write(one(1))
        await world.write()
        await world.write(one(1, is_ready=False))
        assert world.states() == {}


async def test_addresses_are_made_of_the_slice() -> None:
    async with World().running() as world:
        await world.write(one(1))
        found = world.found.members("a")
        assert isinstance(found, Known)
        (member,) = found.value
        assert (member.data_url, member.admin_url) == ("http://10.0.0.1:8080", "http://10.0.0.1:8081")
        await world.write(Endpoint("fd00::1"), addressType="IPv6")
        found = world.found.members("a")
        assert isinstance(found, Known)
        assert [(each.name, each.admin_url) for each in found.value] == [("fd00::1", "http://[fd00::1]:8081")]


async def test_a_pod_in_two_slices_is_one_member() -> None:
    async with World().running() as world:
        await world.write(one(1), one(2))
        await world.write(one(2), name="t")
        assert world.states() == {"gateway-1": READY, "gateway-2": READY}


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ({"ports": [{"name": "data", "port": 1}]}, "no ports called"),
        ({"ports": None}, "no ports called"),
        ({"ports": [{"name": "data", "port": 70000}]}, "ports"),
        ({"addressType": "FQDN"}, "addressType"),
        ({"endpoints": [{"addresses": ["x"]}]}, "endpoints"),
        ({"endpoints": [{"addresses": []}]}, "endpoints"),
        ({"endpoints": "x"}, "endpoints"),
    ],
)
async def test_an_odd_slice_makes_the_members_unknown(odd: dict[str, Any], why: str) -> None:
    """One that is left out would seem to be gone, and to have confirmed."""
    async with World().running() as world:
        await world.write(one(1))
        await world.write(one(2), name="odd", **odd)
        assert why in world.problem()
        await world.write(one(2), name="odd")
        assert world.states() == {"gateway-1": READY, "gateway-2": READY}


async def test_a_service_without_pods_has_a_slice_without_ports() -> None:
    async with World().running() as world:
        await world.write(ports=None, endpoints=None)
        assert world.states() == {}


async def test_more_members_than_there_can_be_are_unknown() -> None:
    async with World().running() as world:
        await world.write(*(Endpoint(f"10.0.1.{n % 250}", pod=f"g-{n}") for n in range(gateways.MEMBERS_MAX + 1)))
        assert "more than 256" in world.problem()


async def test_a_list_that_fails_says_why() -> None:
    world = World()
    world.api.failing = {SLICES: errors.Forbidden("no right")}
    async with world.running():
        assert world.problem() == "no right"


async def test_the_operator_uses_the_internal_port_where_a_gateway_has_one() -> None:
    older = content(one(1))
    newer = content(one(2), ports=[*older["ports"], {"name": "internal", "port": 8082}])
    views = [gateways.view_slice(body) for body in (older, newer)]
    urls = [member.data_url for view in views if not isinstance(view, gateways.Unreadable) for member, _ in view]
    assert urls == ["http://10.0.0.1:8080", "http://10.0.0.2:8082"]
