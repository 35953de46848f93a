"""The second namespace of a story: what counts as touching it, and that no fault of the story strikes there."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from tests.faults import bystander, pictures
from tests.faults.script import START, Kind, Point, Script, Write

ROUTE = "/apis/fairlead.dev/v1alpha1/namespaces/beside/modelroutes/m"
STATUS = "/apis/fairlead.dev/v1alpha1/namespaces/{}/modeldeployments/m/status"


def _write(name: str) -> Write:
    return Write(at_s=0.0, name=name, path=ROUTE, body=b"{}", code=200)


def _config(replicas: int, *, uri: str = "one", count: int = 1) -> dict[str, Any]:
    application = {"args": {"uri": uri}, "deployments": [{"name": "replica", "num_replicas": replicas}]}
    return {"applications": [{"name": f"beside--m--{n}", **application} for n in range(count)]}


def test_a_scaling_that_is_reported_touches_nothing_else() -> None:
    assert bystander.touches([_write("status"), _write("event")], [_config(1), _config(2), _config(2)]) == []


@pytest.mark.parametrize("name", ["route", "route deleted", "finalizer", "revision made", "revision deleted"])
def test_any_other_write_to_an_object_touches_it(name: str) -> None:
    assert bystander.touches([_write(name)], [_config(1)]) == [f"the bystander's {name} is written: {ROUTE}"]


@pytest.mark.parametrize("config", [_config(1, uri="two"), _config(1, count=0), _config(1, count=2)])
def test_another_configuration_of_its_ray_touches_it(config: dict[str, Any]) -> None:
    (line,) = bystander.touches([], [_config(1), config])
    assert line.startswith("the bystander's Ray is given")


def test_its_writes_are_no_points_of_the_story_and_none_is_struck() -> None:
    script = Script(kill=lambda: None, bystander="beside")
    script.arm(Point(write="status", nth=1), Kind.ERROR)
    assert script.begin("api", "PATCH", STATUS.format("beside"), b"{}") is not None
    assert not script.reached.is_set()
    begun = script.begin("api", "PATCH", STATUS.format("story"), b"{}")
    assert begun is not None
    assert (begun[1], len(script.writes), len(script.bystander_writes)) == (Kind.ERROR, 1, 1)


def test_neither_its_reads_nor_its_watches_are_struck() -> None:
    reads = Script(kill=lambda: None, bystander="beside")
    reads.arm(START, Kind.API_READS)
    watches = Script(kill=lambda: None, bystander="beside")
    watches.arm(START, Kind.WATCH_CUT)
    found = {
        namespace: (reads.read("api", STATUS.format(namespace)), watches.watch(0.0, STATUS.format(namespace)) is None)
        for namespace in ("beside", "story")
    }
    assert found == {"beside": (None, True), "story": (Kind.API_READS, False)}


def test_a_date_in_a_picture_is_as_far_away_as_when_it_was_taken() -> None:
    moved = pictures.later(
        {"at": "2026-11-28T10:00:00Z", "exact": ["2026-11-28T10:00:00.250000Z"]}, datetime.timedelta(hours=2)
    )
    assert moved == {"at": "2026-11-28T12:00:00Z", "exact": ["2026-11-28T12:00:00.250000Z"]}
