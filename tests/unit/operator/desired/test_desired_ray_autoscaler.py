"""A class whose number of workers may change has an autoscaler beside the head; another one has none."""

from __future__ import annotations

from typing import Any

from tests.support import serving_classes

from fairlead_operator.desired import ray_cluster

SCALED = serving_classes.make(workers={"min": 1, "max": 4, "idleSeconds": 30})
FIXED = serving_classes.make(workers={"min": 2, "max": 2})
IDENTITY = "/var/run/secrets/kubernetes.io/serviceaccount"


def spec(class_: Any) -> dict[str, Any]:
    return dict(ray_cluster.build(class_, namespace="models").body["spec"])


def test_only_a_class_with_different_bounds_has_an_autoscaler() -> None:
    assert spec(SCALED)["enableInTreeAutoscaling"]
    assert spec(SCALED)["autoscalerOptions"]["version"] == "v2"
    assert not {"enableInTreeAutoscaling", "autoscalerOptions"} & spec(FIXED).keys()


def test_a_cluster_that_gets_an_autoscaler_or_loses_it_is_another_one() -> None:
    wider = serving_classes.make(workers={"min": 2, "max": 9, "idleSeconds": 600})
    other = serving_classes.make(workers={"min": 5, "max": 5})
    names = [ray_cluster.cluster_name(each, namespace="models") for each in (SCALED, wider, FIXED, other)]
    assert names[0] == names[1] != names[2] == names[3]


def test_a_worker_s_time_without_replicas_is_changed_in_place() -> None:
    built = ray_cluster.build(SCALED, namespace="models")
    assert built.bounds.idle_s == 30
    assert built.body["spec"]["workerGroupSpecs"][0]["idleTimeoutSeconds"] == 30
    assert ray_cluster.build(serving_classes.make(), namespace="models").bounds.idle_s == 300
    fixed = ray_cluster.build(FIXED, namespace="models")
    assert fixed.bounds.idle_s is None
    assert "idleTimeoutSeconds" not in fixed.body["spec"]["workerGroupSpecs"][0]


def test_only_the_autoscaler_can_use_the_service_account() -> None:
    built = spec(SCALED)
    head = built["headGroupSpec"]["template"]["spec"]
    assert head["automountServiceAccountToken"] is False
    assert all(each["mountPath"] != IDENTITY for each in head["containers"][0]["volumeMounts"])
    mounted = {each["mountPath"]: each["name"] for each in built["autoscalerOptions"]["volumeMounts"]}
    volumes = {each["name"]: each for each in head["volumes"]}
    assert {"/tmp", IDENTITY} == mounted.keys()
    assert volumes.keys() >= set(mounted.values())
    (token, *_) = volumes[mounted[IDENTITY]]["projected"]["sources"]
    assert "serviceAccountToken" in token
    (workers,) = built["workerGroupSpecs"]
    assert all("projected" not in each for each in workers["template"]["spec"]["volumes"])


def test_the_autoscaler_fits_the_pod_security_level_restricted() -> None:
    security = spec(SCALED)["autoscalerOptions"]["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert not security["allowPrivilegeEscalation"]
    assert security["readOnlyRootFilesystem"]
