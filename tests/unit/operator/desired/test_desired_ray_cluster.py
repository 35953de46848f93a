"""A serving class becomes a RayCluster whose name stands for all that its pods are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.support import serving_classes

from fairlead_operator.api import names
from fairlead_operator.desired import ray_cluster
from fairlead_operator.state.infrastructure import WantedCluster
from fairlead_operator.state.serving_class import PodSize

SMALL = serving_classes.make()


def pods(built: WantedCluster) -> list[dict[str, Any]]:
    groups = [built.body["spec"]["headGroupSpec"], *built.body["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_equal_classes_have_one_cluster_and_each_change_has_another() -> None:
    first = ray_cluster.build(SMALL, namespace="models")
    assert ray_cluster.build(SMALL, namespace="models") == first
    worker = dataclasses.replace(SMALL.worker, size=PodSize(cpu_millicores=4000, memory_bytes=2**32))
    changes: list[dict[str, Any]] = [
        {"image": "another@sha256:" + "1" * 64},
        {"ray_version": "2.61.0"},
        {"worker": worker},
        {"head": dataclasses.replace(SMALL.head, node_selector={"pool": "serving"})},
        {"worker": dataclasses.replace(SMALL.worker, tolerations=({"key": "gpu", "operator": "Exists"},))},
    ]
    found = {ray_cluster.cluster_name(dataclasses.replace(SMALL, **each), namespace="models") for each in changes}
    assert len({first.name, *found}) == 1 + len(changes)


def test_the_bounds_of_the_workers_and_the_gateway_are_no_part_of_the_name() -> None:
    wider = dataclasses.replace(
        SMALL, workers_min=2, workers_max=20, gateway=dataclasses.replace(SMALL.gateway, replicas=9)
    )
    before, after = (ray_cluster.build(each, namespace="models") for each in (SMALL, wider))
    assert after.name == before.name
    assert (after.bounds.least, after.bounds.most) == (2, 20)
    (group,) = after.body["spec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 20)
    assert "replicas" not in group


def test_a_name_has_room_for_what_kuberay_adds() -> None:
    longest = dataclasses.replace(SMALL, name="c" * 39)
    assert len(ray_cluster.cluster_name(longest, namespace="models")) == names.RAY_CLUSTER_MAX
    with pytest.raises(ValueError, match="longer than 39"):
        ray_cluster.build(dataclasses.replace(SMALL, name="c" * 40), namespace="models")


def test_ray_offers_whole_cores() -> None:
    odd = dataclasses.replace(SMALL.worker, size=PodSize(cpu_millicores=1001, memory_bytes=2**32))
    built = ray_cluster.build(dataclasses.replace(SMALL, worker=odd), namespace="models")
    assert built.body["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] == "2"


def test_no_replica_runs_on_the_head() -> None:
    built = ray_cluster.build(SMALL, namespace="models")
    assert built.body["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert built.body["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] == "2"


def test_replicas_learn_what_they_need_from_the_environment() -> None:
    built = ray_cluster.build(SMALL, namespace="models")
    name = built.name
    for pod in pods(built):
        given = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert given["FAIRLEAD_CLUSTER"] == f"models/{name}"
        assert given["FAIRLEAD_REPLICA_HOST"] == "$(POD_IP)"
        assert given["FAIRLEAD_NODE_DIRECTORY"] == f"$(POD_IP):{ray_cluster.DIRECTORY_PORT}"
        mounted = [each["mountPath"] for each in pod["containers"][0]["volumeMounts"]]
        assert any(str(given["FAIRLEAD_NODE_FOLDER"]).startswith(f"{each}/") for each in mounted)


def test_pods_fit_the_pod_security_level_restricted() -> None:
    """The API server decides it in the node's tests; here is what it looks at."""
    for pod in pods(ray_cluster.build(SMALL, namespace="models")):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        security = pod["containers"][0]["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert not security["allowPrivilegeEscalation"]
        assert security["readOnlyRootFilesystem"]


def test_every_port_s_name_is_one_that_kubernetes_takes() -> None:
    for pod in pods(ray_cluster.build(SMALL, namespace="models")):
        names = [each["name"] for each in pod["containers"][0]["ports"]]
        assert len(set(names)) == len(names)
        assert all(len(each) <= 15 for each in names)


def test_the_platform_s_choices_reach_every_pod() -> None:
    where = {"nodeSelector": {"pool": "serving"}, "priorityClassName": "serving", "cpu": 1, "memory": "2Gi"}
    chosen = serving_classes.make(imagePullSecrets=["pull"], head=where, worker=where)
    for pod in pods(ray_cluster.build(chosen, namespace="models")):
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["nodeSelector"] == {"pool": "serving"}
        assert pod["priorityClassName"] == "serving"
