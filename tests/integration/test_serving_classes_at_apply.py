"""Which ServingClasses the real API server takes, and what it says of the objects that are made from one."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml
from tests.support import serving_classes

from fairlead_cli.local import cluster
from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import network, objects
from fairlead_operator.state import infrastructure

pytestmark = pytest.mark.real

PODS: dict[str, Any] = {"cpu": 1, "memory": "1Gi"}


def tolerating(**toleration: Any) -> dict[str, Any]:
    return {"worker": {**PODS, "tolerations": [toleration]}}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more workers at least than at most": ({"workers": {"min": 3, "max": 2}}, "must not be greater than"),
    "no worker": ({"workers": {"min": 0, "max": 2}}, "greater than or equal to 1"),
    "a Ray without tokens": ({"rayVersion": "2.51.9"}, "2.52.0 or later"),
    "half a version": ({"rayVersion": "2.60"}, "as in 2.60.0"),
    "an image with a space": ({"image": "a b"}, "must be an image's name"),
    "no gateway": ({"gateway": {}}, "spec.gateway.image"),
    "an unknown Service type": ({"gateway": {"image": "a", "serviceType": "Other"}}, "Unsupported value"),
    "a toleration of every key with one value": (tolerating(value="a"), "spec.worker.tolerations[0].key: "),
    "a toleration of an empty key": (tolerating(key="", operator="Equal"), "or the operator must be Exists"),
    "a toleration of every value with one": (
        tolerating(key="a", operator="Exists", value="b"),
        "must not be set with the operator Exists",
    ),
    "seconds for a taint that moves no pod": (
        tolerating(key="a", effect="NoSchedule", tolerationSeconds=5),
        "needs the effect NoExecute",
    ),
    "seconds for every effect": (tolerating(key="a", tolerationSeconds=5), "needs the effect NoExecute"),
    "a head without a processor": ({"head": {**PODS, "cpu": "99m"}}, "spec.head.cpu: Invalid value"),
    "a worker without a processor": ({"worker": {**PODS, "cpu": "0.05"}}, "must be at least 100m"),
    "a head in which Ray can't start": ({"head": {**PODS, "memory": "511Mi"}}, "must be at least 512Mi"),
    "bytes in which Ray can't start": ({"worker": {**PODS, "memory": 500000000}}, "must be at least 512Mi"),
    "no quantity": ({"worker": {**PODS, "memory": "much"}}, "as in 512Mi"),
    "an unknown field": ({"replicas": 2}, "unknown field"),
}
ACCEPTED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a tag": {"image": "ray-node:1"},
    "numbers without a unit": {"head": {"cpu": 1, "memory": 536870912}},
    "everything": {
        "default": True,
        "worker": {
            "cpu": "100m",
            "memory": "512Mi",
            "nodeSelector": {"pool": "serving"},
            "tolerations": [
                {"operator": "Exists"},
                {"key": "a", "value": "b", "effect": "NoSchedule"},
                {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
            ],
            "priorityClassName": "serving",
        },
        "gateway": {
            "image": "a",
            "replicas": 1,
            "serviceType": "NodePort",
            "resources": {"cpu": 1, "memory": "256Mi"},
        },
        "imagePullSecrets": ["registry-credentials"],
    },
}


def dry_run(kubernetes: cluster.LocalCluster, body: Any, *flags: str) -> subprocess.CompletedProcess[str]:
    return kubernetes.kubectl("apply", "--dry-run=server", "--filename=-", *flags, input=json.dumps(body))


@pytest.mark.parametrize("what", REFUSED)
def test_an_invalid_class_is_refused_with_what_is_right(kubernetes: cluster.LocalCluster, what: str) -> None:
    changes, words = REFUSED[what]
    done = dry_run(kubernetes, serving_classes.manifest(**changes))
    assert done.returncode != 0
    assert words in done.stderr


@pytest.mark.parametrize("name", ["Upper", "1st", "dots.in.it", "c" * 40])
def test_a_name_that_no_ray_cluster_can_have_is_refused(kubernetes: cluster.LocalCluster, name: str) -> None:
    assert dry_run(kubernetes, serving_classes.manifest(name)).returncode != 0


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_valid_class_is_accepted(kubernetes: cluster.LocalCluster, what: str) -> None:
    done = dry_run(kubernetes, serving_classes.manifest("c" * 39, **ACCEPTED[what]))
    assert done.returncode == 0, done.stderr


def test_the_objects_and_their_pods_are_taken_at_the_level_restricted(kubernetes: cluster.LocalCluster) -> None:
    namespace = "restricted-serving"
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": level}}
    assert kubernetes.kubectl("apply", "--filename=-", input=json.dumps(made)).returncode == 0
    class_ = serving_classes.make(**{key: value for key, value in ACCEPTED["everything"].items() if key != "default"})
    callers = network.Callers(operator="fairlead-system", prometheus="monitoring")
    composed = objects.compose(namespace, gateway_class=class_, clusters=["small-0123456789"], callers=callers)
    bodies = [dict(each.body) for each in composed] + [objects.token_secret(namespace, "a" * 64)]
    templates = [each["spec"]["template"] for each in bodies if each["kind"] == infrastructure.DEPLOYMENT.kind]
    ray = ray_cluster.build(class_, namespace=namespace).body["spec"]
    templates += [ray["headGroupSpec"]["template"], ray["workerGroupSpecs"][0]["template"]]
    for number, template in enumerate(templates):
        # The service account, the class of priority and the Secret aren't there: only the level is asked about.
        spec = {
            key: value
            for key, value in template["spec"].items()
            if key not in ("serviceAccountName", "priorityClassName")
        }
        metadata = {"name": f"pod-{number}", "namespace": namespace}
        bodies.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    text = yaml.safe_dump_all(bodies)
    done = kubernetes.kubectl("apply", "--dry-run=server", "--filename=-", input=text)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
