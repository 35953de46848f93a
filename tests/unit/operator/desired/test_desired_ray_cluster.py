"""A serving class becomes a RayCluster whose name stands for all that its pods are made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fairlead_operator.desired import ray_cluster
from fairlead_operator.state.serving_class import PodSize, ServingClass

GIB = 1024**3
SMALL = ServingClass(
    name="small",
    image="registry.example/fairlead/ray-node@sha256:" + "0" * 64,
    ray_version="2.60.0",
    head=PodSize(cpus=1, memory_bytes=2 * GIB),
    worker=PodSize(cpus=2, memory_bytes=4 * GIB),
    workers_min=1,
    workers_max=10,
)


def pods(built: dict[str, Any]) -> list[dict[str, Any]]:
    groups = [built["spec"]["headGroupSpec"], *built["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_equal_classes_have_one_cluster_and_each_change_has_another() -> None:
    first = ray_cluster.build(SMALL, namespace="models")
    assert ray_cluster.build(SMALL, namespace="models") == first
    changes: list[dict[str, Any]] = [
        {"image": "another@sha256:" + "1" * 64},
        {"ray_version": "2.61.0"},
        {"worker": PodSize(cpus=4, memory_bytes=4 * GIB)},
        {"node_selector": {"pool": "serving"}},
        {"tolerations": ({"key": "gpu", "operator": "Exists"},)},
        {"workers_max": 20},
    ]
    names = {
        ray_cluster.build(dataclasses.replace(SMALL, **each), namespace="models")["metadata"]["name"]
        for each in changes
    }
    assert len({first["metadata"]["name"], *names}) == 1 + len(changes)


def test_a_name_has_room_for_what_kuberay_adds() -> None:
    longest = dataclasses.replace(SMALL, name="c" * 39)
    assert len(ray_cluster.build(longest, namespace="models")["metadata"]["name"]) == ray_cluster.NAME_MAX
    with pytest.raises(ValueError, match="longer than 39"):
        ray_cluster.build(dataclasses.replace(SMALL, name="c" * 40), namespace="models")


def test_no_replica_runs_on_the_head() -> None:
    built = ray_cluster.build(SMALL, namespace="models")
    assert built["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert built["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] == "2"


def test_replicas_learn_what_they_need_from_the_environment() -> None:
    built = ray_cluster.build(SMALL, namespace="models")
    name = built["metadata"]["name"]
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
    chosen = dataclasses.replace(
        SMALL, image_pull_secrets=("pull",), node_selector={"pool": "serving"}, priority_class="serving"
    )
    for pod in pods(ray_cluster.build(chosen, namespace="models")):
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["nodeSelector"] == {"pool": "serving"}
        assert pod["priorityClassName"] == "serving"
