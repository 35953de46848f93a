"""Ray's own autoscaler for KubeRay reads the RayCluster that the operator makes, and writes only what is its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest
from ray._raylet import GcsClient
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler.v2.instance_manager.cloud_providers.kuberay import cloud_provider
from tests.support import serving_classes

from fairlead_operator.desired import ray_cluster
from fairlead_operator.state import infrastructure

NAME = "workers"
GROUP = "/spec/workerGroupSpecs/0"


class Api:
    """The RayCluster and its pods, as the API server has them: `replicas` is 0 by the CRD's own default."""

    def __init__(self, body: Mapping[str, Any], workers: int) -> None:
        self.cluster = copy.deepcopy(dict(body))
        self.cluster["spec"]["workerGroupSpecs"][0].setdefault("replicas", 0)
        self.pods = [self._pod("head", "headgroup"), *(self._pod(f"worker-{n}", NAME) for n in range(workers))]
        self.patches: list[Any] = []

    def _pod(self, name: str, group: str) -> dict[str, Any]:
        labels = {"ray.io/node-type": "head" if name == "head" else "worker", "ray.io/group": group}
        status = {"containerStatuses": [{"state": {"running": {}}}]}
        return {"metadata": {"name": name, "labels": labels}, "status": status}

    def get(self, path: str) -> dict[str, Any]:
        if path.startswith("pods"):
            return {"metadata": {"resourceVersion": "1"}, "items": self.pods}
        return self.cluster

    def patch(self, _path: str, payload: Any, content_type: str = "") -> dict[str, Any]:
        self.patches.append(payload)
        return self.cluster


@pytest.fixture
def body() -> Mapping[str, Any]:
    class_ = serving_classes.make(
        worker={"cpu": "1500m", "memory": "4Gi"}, workers={"min": 1, "max": 4, "idleSeconds": 30}
    )
    return ray_cluster.build(class_, namespace="models").body


def provider(api: Api) -> cloud_provider.KubeRayProvider:
    """As the autoscaler has it after a read; nothing of it asks Ray's head here."""
    made = cloud_provider.KubeRayProvider(
        api.cluster["metadata"]["name"],
        {"namespace": "models", "head_node_type": "headgroup"},
        cast("GcsClient", None),
        k8s_api_client=cast("Any", api),
    )
    made.get_non_terminated()
    return made


def test_it_reads_the_bounds_and_what_a_worker_holds(body: Mapping[str, Any]) -> None:
    config = autoscaling_config._derive_autoscaling_config_from_ray_cr(copy.deepcopy(dict(body)))
    worker = config["available_node_types"][NAME]
    assert (worker["min_workers"], worker["max_workers"], worker["idle_timeout_s"]) == (1, 4, 30.0)
    assert worker["resources"] == {"CPU": 2, "memory": 2**32}
    assert config["available_node_types"]["headgroup"]["resources"]["CPU"] == 0


def test_it_asks_for_a_worker_at_a_path_that_is_there_and_not_ours(body: Mapping[str, Any]) -> None:
    api = Api(body, workers=1)
    provider(api).launch({NAME: 2}, "first")
    assert api.patches == [[{"op": "replace", "path": f"{GROUP}/replicas", "value": 3}]]


def test_it_ends_the_worker_that_it_names(body: Mapping[str, Any]) -> None:
    api = Api(body, workers=3)
    api.cluster["spec"]["workerGroupSpecs"][0]["replicas"] = 3
    provider(api).terminate(["worker-1"], "second")
    ((fewer, named),) = api.patches
    assert fewer == {"op": "replace", "path": f"{GROUP}/replicas", "value": 2}
    assert (named["path"], named["value"]) == (f"{GROUP}/scaleStrategy", {"workersToDelete": ["worker-1"]})


def test_the_operator_writes_other_paths(body: Mapping[str, Any]) -> None:
    """What the operator leaves out of the RayCluster is what the autoscaler writes."""
    assert infrastructure.WORKER_GROUP == NAME
    assert not {"replicas", "scaleStrategy"} & body["spec"]["workerGroupSpecs"][0].keys()
