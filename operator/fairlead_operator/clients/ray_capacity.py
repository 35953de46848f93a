"""What is free on a Ray cluster, from the status that its monitor keeps.

Only a cluster without an autoscaler has a known capacity: there the monitor itself made up a type for each node, named
after it. Beside KubeRay, Ray's autoscaler keeps no such status. Source: ``BASE_READONLY_CONFIG`` in
``ray/autoscaler/_private/monitor.py`` and ``get_cluster_status`` in
``ray/dashboard/modules/reporter/reporter_head.py`` of Ray 2.60.
"""

from __future__ import annotations

import pydantic

from fairlead_operator.clients import errors
from fairlead_operator.state import capacity

STATUS_PATH = "/api/cluster_status"
STALE_S = 60.0
"""The monitor writes every 5 s; an older status tells of another cluster."""


class _Wire(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)


class _Usage(_Wire):
    cpu: tuple[float, float] = pydantic.Field((0.0, 0.0), alias=capacity.CPU)
    memory: tuple[float, float] = (0.0, 0.0)


class _Load(_Wire):
    usage_by_node: dict[str, _Usage] = pydantic.Field(alias="usageByNode")


class _Autoscaler(_Wire):
    node_type_mapping: dict[str, str] = pydantic.Field(alias="nodeTypeMapping")


class _Status(_Wire):
    time: float
    load: _Load = pydantic.Field(alias="loadMetricsReport")
    autoscaler: _Autoscaler = pydantic.Field(alias="autoscalerReport")


class _Data(_Wire):
    status: _Status = pydantic.Field(alias="clusterStatus")


class _Answer(_Wire):
    data: _Data


def read(body: object, *, now_s: float) -> capacity.Capacity:
    """The free room by node.

    Raises:
        errors.Unreachable: it is not known: an autoscaler adds nodes, the status is old, or of another form.
    """
    try:
        status = _Answer.model_validate(body).data.status
    except pydantic.ValidationError as error:
        raise errors.Unreachable(f"Ray's cluster status has an unexpected form: {error.errors()[0]['loc']}") from error
    if abs(now_s - status.time) > STALE_S:
        raise errors.Unreachable("Ray's cluster status is old")
    types = status.autoscaler.node_type_mapping
    usage = status.load.usage_by_node
    if not usage or any(kind != f"node_{node}" for node, kind in types.items()) or set(usage) - set(types):
        raise errors.Unreachable("an autoscaler may add nodes")
    return capacity.Capacity(nodes={node: _room(used) for node, used in usage.items()})


def _room(usage: _Usage) -> capacity.NodeRoom:
    return capacity.NodeRoom(cpu_cores=usage.cpu[1] - usage.cpu[0], memory_bytes=usage.memory[1] - usage.memory[0])
