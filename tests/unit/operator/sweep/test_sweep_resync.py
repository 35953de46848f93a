"""What a full listing has to find, whatever was missed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fairlead_operator import health, queue, sweep, telemetry
from fairlead_operator.clients import clock, errors
from fairlead_operator.state import keys


class Reads:
    """An API server with one model."""

    async def list_all(self, _path: str, *, label_selector: str | None = None) -> tuple[list[Any], str]:
        return [{"metadata": {"namespace": "ns", "name": "living", "resourceVersion": "1"}}], "1"


class Namespace:
    """A namespace of two Ray clusters whose route table is as given."""

    clusters = ("a", "b")

    def __init__(self, routes: Mapping[str, str] | None) -> None:
        self._routes = routes

    async def routes(self, _max_age_s: float) -> Mapping[str, str]:
        if self._routes is None:
            raise errors.Unreachable("the API server is away")
        return self._routes


async def resynced(routes: Mapping[str, str] | None) -> set[keys.Key]:
    """The keys that a new process's first listing queues."""
    work: queue.KeyedQueue[keys.Key] = queue.KeyedQueue()
    made = sweep.Sweep(
        work,
        Reads(),  # type: ignore[arg-type]  # only what a listing asks
        lambda _: Namespace(routes),  # type: ignore[arg-type,return-value]  # likewise
        watched=health.WatchLedger(clock=clock.SystemClock()),
        metrics=telemetry.Metrics(),
        clock=clock.SystemClock(),
    )
    await made.resync(("ns",))
    return {key for _ in range(len(work)) if (key := await work.take()) is not None}


async def test_a_route_whose_model_was_forced_away_before_this_process_began_is_looked_at() -> None:
    assert keys.ModelKey("ns", "forced") in await resynced({"living": "{}", "forced": "{}"})


async def test_a_listed_model_and_every_ray_cluster_of_its_namespace_are_looked_at() -> None:
    assert {keys.ModelKey("ns", "living"), keys.RayKey("ns", "a"), keys.RayKey("ns", "b")} <= await resynced({})


async def test_an_unreadable_route_table_is_told_to_who_repeats_the_listing() -> None:
    with pytest.raises(errors.FairleadError):
        await resynced(None)
