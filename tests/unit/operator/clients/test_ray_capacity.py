"""What Ray's own cluster status says of its free room, and when it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead_operator.clients import errors, ray_capacity
from fairlead_operator.state.capacity import Capacity, NodeRoom, Size

NOW_S = 1795530712.0
NODE = "58c8c4dfd91b5da0bca7150bacd12ed531d8db1be594ed73e0a924fc"


def status(**changes: Any) -> dict[str, Any]:
    """As Ray 2.60 answered for a head of 8 CPUs with two replicas of 0.1 CPU and 400 MiB."""
    content = {
        "time": NOW_S - 4,
        "autoscalerReport": {"nodeTypeMapping": {NODE: f"node_{NODE}"}, "legacy": True, "pendingNodes": []},
        "loadMetricsReport": {
            "usage": {"memory": [838860800.0, 22424337920.0], "CPU": [0.20000000000000018, 8.0]},
            "usageByNode": {NODE: {"memory": [838860800.0, 22424337920.0], "CPU": [0.20000000000000018, 8.0]}},
        },
    }
    return {"result": True, "data": {"autoscalingStatus": "…", "clusterStatus": {**content, **changes}}}


def test_free_capacity_is_read_per_node() -> None:
    room = ray_capacity.read(status(), now_s=NOW_S).nodes[NODE]
    assert room.cpu_cores == pytest.approx(7.8)
    assert room.memory_bytes == 22424337920 - 838860800


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param({"data": {"clusterStatus": None}}, "an unexpected form", id="no monitor has written yet"),
        pytest.param({}, "an unexpected form", id="another form"),
        pytest.param(status(time=NOW_S - 61), "old", id="the monitor is gone"),
        pytest.param(
            status(autoscalerReport={"nodeTypeMapping": {NODE: "worker"}}),
            "autoscaler",
            id="nodes of an autoscaler's type",
        ),
        pytest.param(status(autoscalerReport={"nodeTypeMapping": {}}), "autoscaler", id="a node of no type"),
    ],
)
def test_unknown_capacity_is_unknown(body: dict[str, Any], why: str) -> None:
    with pytest.raises(errors.Unreachable, match=why):
        ray_capacity.read(body, now_s=NOW_S)


def test_a_replica_is_never_split_over_nodes() -> None:
    half = NodeRoom(cpu_cores=0.7, memory_bytes=2**30)
    room = Capacity(nodes={"a": half, "b": half, "full": NodeRoom(cpu_cores=-0.5, memory_bytes=0)})
    assert room.fitting(Size(cpu_cores=0.5, memory_bytes=2**29)) == 2
    assert room.fitting(Size(cpu_cores=1.0, memory_bytes=2**29)) == 0
    assert room.fitting(Size(cpu_cores=0.1, memory_bytes=2**29)) == 4


def test_rounding_of_floating_point_does_not_reduce_the_room() -> None:
    assert (
        Capacity(nodes={"a": NodeRoom(cpu_cores=1.0 - 0.9, memory_bytes=2**30)}).fitting(
            Size(cpu_cores=0.1, memory_bytes=2**20)
        )
        == 1
    )
