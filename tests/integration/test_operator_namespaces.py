"""What the real operator makes in a namespace, keeps and removes, under the rules that the chart ships."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import serving_classes
from tests.support.prepared import RAY_CLUSTERS, Objects, Prepared
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

WRITES = ("POST", "PATCH", "DELETE")
ANOTHER_IMAGE = serving_classes.RAY_IMAGE.replace("0", "2")


@pytest.fixture
def prepared(kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[Prepared]:
    done = kubernetes.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(RAY_CLUSTERS))
    assert done.returncode == 0, done.stderr
    kubernetes.kubectl("wait", "--for=condition=Established", "crd/rayclusters.ray.io")
    with Prepared(kubernetes, tmp_path) as world:
        yield world


def versions(objects: Objects) -> dict[str, str]:
    return {name: f"{body['metadata']['uid']} {body['metadata']['resourceVersion']}" for name, body in objects.items()}


def writes(world: Prepared) -> float:
    """How many requests that change something the operator has sent, its Lease aside."""
    lines = world.operator.get("/metrics")[1].splitlines()
    counted = [line for line in lines if line.startswith("fairlead_operator_kubernetes_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in counted if any(f'verb="{verb}"' in line for verb in WRITES))


def renewals(world: Prepared) -> float:
    lines = world.operator.get("/metrics")[1].splitlines()
    counted = [line for line in lines if line.startswith("fairlead_operator_kubernetes_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in counted if 'verb="PUT"' in line)


def test_the_first_model_brings_everything_and_the_last_takes_it_along(prepared: Prepared) -> None:
    prepared.apply_class("small", default=True)
    assert prepared.objects() == {}
    prepared.apply_model("first")
    made = prepared.until_prepared()
    (ray,) = prepared.ray_clusters()
    assert ray.startswith("small-")
    assert f"Service/{ray}-nodes" in made
    prepared.apply_model("second")
    prepared.kubectl("delete", "mdep", "first", "--timeout=400s")
    assert versions(prepared.objects()) == versions(made)
    prepared.kubectl("delete", "mdep", "second", "--timeout=400s")
    until(lambda: not prepared.objects(), "everything is gone", explain=prepared.operator.tail)


def test_nothing_is_written_while_nothing_changes_nor_after_a_restart(prepared: Prepared) -> None:
    prepared.apply_class("small", default=True)
    prepared.apply_model("idle")
    made = versions(prepared.until_prepared())
    prepared.until_reason("sclass/small", "Ready")

    def is_quiet() -> bool:
        before, renewed = writes(prepared), renewals(prepared)
        until(lambda: renewals(prepared) >= renewed + 2, "the Lease is renewed twice")
        return writes(prepared) == before

    until(is_quiet, "the operator writes nothing", explain=prepared.operator.tail)
    prepared.operator.stop()
    prepared.operator.start()
    until(is_quiet, "the new process writes nothing either", explain=prepared.operator.tail)
    assert versions(prepared.objects()) == made


def test_another_image_is_another_ray_cluster_and_one_that_never_answered_goes(prepared: Prepared) -> None:
    """How the old one stays while it serves, and goes afterwards: test_operator_directories.py."""
    prepared.apply_class("small", default=True)
    prepared.apply_model("moving")
    prepared.until_prepared()
    (old,) = prepared.ray_clusters()
    prepared.apply_class("small", default=True, image=ANOTHER_IMAGE)
    until(lambda: prepared.ray_clusters() not in ({old}, set()), "another one", explain=prepared.operator.tail)
    until(lambda: old not in prepared.ray_clusters(), "the old one is gone", explain=prepared.operator.tail)
    made = prepared.until_prepared()
    assert f"Service/{old}-nodes" not in made


def test_other_bounds_are_patched_and_what_an_autoscaler_wrote_stays(prepared: Prepared) -> None:
    prepared.apply_class("small", default=True)
    prepared.apply_model("scaled")
    prepared.until_prepared()
    (ray,) = prepared.ray_clusters()
    scaled = [{"op": "add", "path": "/spec/workerGroupSpecs/0/replicas", "value": 7}]
    prepared.kubectl("patch", "raycluster", ray, "--type=json", "-p", json.dumps(scaled))
    prepared.apply_class("small", default=True, workers={"min": 2, "max": 30, "idleSeconds": 60})
    keys = ("replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds")

    def group() -> Any:
        found = json.loads(prepared.kubectl("get", "raycluster", ray, "-o", "json"))
        return tuple(found["spec"]["workerGroupSpecs"][0][key] for key in keys)

    until(lambda: group() == (7, 2, 30, 60), "the bounds", explain=group)
    assert prepared.ray_clusters() == {ray}


def test_an_object_of_somebody_else_is_never_touched_and_the_model_says_so(prepared: Prepared) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fairlead-gateway"}}
    foreign["spec"] = {"clusterIP": "None", "ports": [{"port": 1}]}  # type: ignore[assignment]
    prepared.apply(foreign)
    before = json.loads(prepared.kubectl("get", "service", "fairlead-gateway", "-o", "json"))
    prepared.apply_class("small", default=True)
    prepared.apply_model("blocked")
    message = prepared.until_reason("mdep/blocked", "ForeignObject")
    assert "Service fairlead-gateway already exists" in message
    assert "Service fairlead-gateway" in prepared.until_reason("sclass/small", "ForeignObject")
    assert "Deployment/fairlead-gateway" in prepared.objects()
    prepared.kubectl("delete", "mdep", "blocked", "--timeout=400s")
    until(lambda: not prepared.objects(), "what is ours is gone", explain=prepared.operator.tail)
    after = json.loads(prepared.kubectl("get", "service", "fairlead-gateway", "-o", "json"))
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_missing_class_is_named_and_its_creation_is_noticed(prepared: Prepared) -> None:
    prepared.apply_model("waiting")
    assert "No ServingClass has spec.default" in prepared.until_reason("mdep/waiting", "NoServingClass")
    prepared.apply_model("choosy", cluster={"class": "large"})
    assert "ServingClass large does not exist" in prepared.until_reason("mdep/choosy", "NoServingClass")
    assert prepared.objects() == {}
    prepared.apply_class("large")
    prepared.until_prepared()
    prepared.apply_class("small", default=True)
    prepared.until_prepared(clusters=2)


def test_two_default_classes_are_both_named_and_the_older_one_is_used(prepared: Prepared) -> None:
    prepared.apply_class("b-older", default=True)
    prepared.apply_model("model")
    prepared.until_prepared()
    ray = prepared.ray_clusters()
    until(lambda: prepared.condition("sclass/b-older", "Ready").get("status") == "True", "the one class is ready")
    older = json.loads(prepared.kubectl("get", "sclass", "b-older", "-o", "json"))
    assert older["status"]["observedGeneration"] == older["metadata"]["generation"]
    created = older["metadata"]["creationTimestamp"]

    def is_younger() -> bool:
        """Creation times are whole seconds."""
        prepared.kubectl("delete", "sclass", "a-younger", "--ignore-not-found")
        prepared.apply_class("a-younger", default=True, image=ANOTHER_IMAGE)
        found = json.loads(prepared.kubectl("get", "sclass", "a-younger", "-o", "json"))
        return bool(found["metadata"]["creationTimestamp"] > created)

    until(is_younger, "a younger class")
    for name in ("a-younger", "b-older"):
        message = prepared.until_reason(f"sclass/{name}", "SeveralDefaults")
        assert "b-older, a-younger" in message
    assert prepared.ray_clusters() == ray


def test_without_kuberay_the_models_and_the_class_say_so(kubernetes: cluster.LocalCluster, tmp_path: Path) -> None:
    kubernetes.kubectl("delete", "crd", "rayclusters.ray.io", "--ignore-not-found")
    with Prepared(kubernetes, tmp_path) as world:
        world.apply_class("small", default=True)
        world.apply_model("stranded")
        assert "The RayCluster CRD is not installed" in world.until_reason("mdep/stranded", "KubeRayMissing")
        assert "The RayCluster CRD is not installed" in world.until_reason("sclass/small", "KubeRayMissing")
        text = json.dumps(copy.deepcopy(dict(RAY_CLUSTERS)))
        world.kubectl("apply", "--server-side", "-f", "-", scoped=False, input_text=text)
        world.until_prepared()


def test_a_namespace_with_everything_in_it_can_be_deleted(prepared: Prepared) -> None:
    prepared.apply_class("small", default=True)
    prepared.apply_model("doomed")
    prepared.until_prepared()
    prepared.kubectl("delete", "namespace", prepared.namespace, "--timeout=400s", scoped=False)
    prepared.operator.require_running()
