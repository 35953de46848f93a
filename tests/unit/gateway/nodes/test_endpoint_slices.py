"""The list of Ray nodes from EndpointSlices: what counts, what is refused, what is kept while nothing can be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_collection import FakeCollection, next_state, served

from fairlead_gateway import metrics
from fairlead_gateway.nodes import endpoint_slices
from fairlead_gateway.settings import Node

PATH = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"
ONE, TWO = "10.0.0.1", "10.0.0.2"


def slice_of(*hosts: str, cluster: str = "fast", **changed: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"fairlead.dev/endpoints": "ray-nodes", "fairlead.dev/cluster": cluster}},
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": 8080}, {"name": "directory", "port": 7999, "protocol": "TCP"}],
        "endpoints": [{"addresses": [host], "conditions": {"ready": True}} for host in hosts],
        **changed,
    }


def node(host: str, cluster: str = "fast", port: int = 7999) -> Node:
    return Node(cluster=cluster, host=host, port=port)


@dataclass
class World:
    api: FakeCollection
    kubeconfig: Path
    folder: Path
    counted: metrics.Metrics

    def source(self) -> endpoint_slices.EndpointSliceNodes:
        return endpoint_slices.EndpointSliceNodes(
            kubeconfig=self.kubeconfig, namespace="ns", relist_s=60, folder=self.folder, metrics_=self.counted
        )

    async def list_once(self) -> Sequence[Node]:
        async with aclosing(self.source().follow()) as seen:  # type: ignore[type-var]
            return tuple(await next_state(seen))

    def count(self, name: str) -> float:
        lines = self.counted.text().decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"fairlead_gateway_{name} ")).split()[1])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    fake = FakeCollection(PATH)
    async with served(fake, tmp_path) as kubeconfig:
        yield World(fake, kubeconfig, tmp_path, metrics.Metrics())


async def test_nodes_of_several_clusters_come_and_go(world: World) -> None:
    world.api.set_unseen(a=slice_of(ONE), b=slice_of(TWO, cluster="slow"))
    async with aclosing(world.source().follow()) as seen:  # type: ignore[type-var]
        assert await next_state(seen) == (node(ONE), node(TWO, "slow"))
        changed = asyncio.create_task(next_state(seen))
        await world.api.watched()
        world.api.set(a=slice_of(ONE, "10.0.0.3"))
        assert set(await changed) == {node(ONE), node("10.0.0.3"), node(TWO, "slow")}
        changed = asyncio.create_task(next_state(seen))
        world.api.set(b=None)
        assert set(await changed) == {node(ONE), node("10.0.0.3")}
    assert world.api.lists[0]["labelSelector"] == "fairlead.dev/endpoints=ray-nodes"


async def test_a_node_that_is_not_ready_or_ends_is_still_asked(world: World) -> None:
    ending = {"ready": False, "serving": False, "terminating": True}
    endpoints = [{"addresses": [ONE], "conditions": ending}, {"addresses": [TWO]}]
    world.api.set_unseen(a=slice_of(endpoints=endpoints))

    assert await world.list_once() == (node(ONE), node(TWO))


async def test_a_node_in_two_slices_is_one_node(world: World) -> None:
    """Kubernetes may list an endpoint in two slices while it moves it."""
    world.api.set_unseen(a=slice_of(ONE, TWO), b=slice_of(ONE))

    assert await world.list_once() == (node(ONE), node(TWO))


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"ports": None}, id="no ports"),
        pytest.param({"ports": [{"name": "http", "port": 80}]}, id="another port"),
        pytest.param({"ports": [{"name": "directory"}]}, id="any port"),
        pytest.param({"ports": [{"name": "directory", "port": 70000}]}, id="no such port"),
        pytest.param({"addressType": "FQDN"}, id="names"),
        pytest.param({"metadata": {"labels": {"fairlead.dev/endpoints": "ray-nodes"}}}, id="no cluster"),
        pytest.param({"metadata": {"labels": {"fairlead.dev/cluster": "../x"}}}, id="no cluster's name"),
        pytest.param({"endpoints": "x"}, id="no list"),
    ],
)
async def test_an_odd_slice_hides_no_other_and_keeps_what_it_listed(world: World, odd: dict[str, Any]) -> None:
    world.api.set_unseen(a=slice_of(ONE), b=slice_of(TWO))
    async with aclosing(world.source().follow()) as seen:  # type: ignore[type-var]
        assert set(await next_state(seen)) == {node(ONE), node(TWO)}
        changed = asyncio.create_task(next_state(seen))
        await world.api.watched()
        world.api.set(a=slice_of(ONE, **odd), c=slice_of("10.0.0.4", **odd))
        assert set(await changed) == {node(ONE), node(TWO)}
        changed = asyncio.create_task(next_state(seen))
        world.api.set(a=None)
        assert set(await changed) == {node(TWO)}


async def test_an_odd_endpoint_is_left_out_alone(world: World) -> None:
    odd = ["", "x", "fd00::1", "0.0.0.0", "224.0.0.1"]
    endpoints = [{"addresses": [each]} for each in (ONE, *odd)] + [{}, {"addresses": []}, "x", {"addresses": [1]}]
    world.api.set_unseen(a=slice_of(endpoints=endpoints), b=slice_of(), c=slice_of(endpoints=None))

    assert await world.list_once() == (node(ONE),)
    assert world.count("refused_endpoints_total") == len(endpoints) - 1


async def test_addresses_of_version_6(world: World) -> None:
    world.api.set_unseen(a=slice_of("fd00:0::1", addressType="IPv6"))

    assert await world.list_once() == (node("fd00::1"),)


async def test_thousands_of_endpoints_are_bounded_and_those_listed_before_stay(world: World) -> None:
    world.api.set_unseen(z=slice_of("10.255.0.1"))
    async with aclosing(world.source().follow()) as seen:  # type: ignore[type-var]
        await next_state(seen)
        changed = asyncio.create_task(next_state(seen))
        await world.api.watched()
        many = [[f"10.{part}.{each // 250}.{each % 250}" for each in range(1000)] for part in range(3)]
        world.api.set(**{f"s{number}": slice_of(*hosts) for number, hosts in enumerate(many)})
        found = await changed
        while len(found) < endpoint_slices.NODES_MAX:
            found = await next_state(seen)
    assert len(found) == endpoint_slices.NODES_MAX
    assert found[0] == node("10.255.0.1")


async def test_the_last_list_is_there_at_a_start_without_an_api_server(world: World) -> None:
    world.api.set_unseen(a=slice_of(ONE))
    await world.list_once()
    world.api.fail = [503] * 1000

    assert await world.list_once() == (node(ONE),)
    # But the first list that can be read counts, also an empty one.
    world.api.fail = []
    world.api.contents = {}
    async with aclosing(world.source().follow()) as seen:  # type: ignore[type-var]
        assert list(await next_state(seen)) == [node(ONE)]
        assert list(await next_state(seen)) == []
    assert json.loads((world.folder / endpoint_slices.FILE).read_text()) == []


@pytest.mark.parametrize("text", ["{", "[1]", '[{"cluster": "x"}]', "7"])
async def test_a_saved_list_that_cannot_be_read_is_no_list(world: World, text: str) -> None:
    (world.folder / endpoint_slices.FILE).write_text(text)
    world.api.set_unseen(a=slice_of(ONE))

    assert await world.list_once() == (node(ONE),)


async def test_errors_are_counted_and_change_nothing(world: World) -> None:
    world.api.fail = [403, 503]
    world.api.set_unseen(a=slice_of(ONE))

    assert await world.list_once() == (node(ONE),)
    assert world.count("node_list_errors_total") == 2
