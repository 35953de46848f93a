"""What a namespace gets, as golden files: each change of one is a roll-out at every user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import serving_classes

from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import gateway, network, objects
from fairlead_operator.state import infrastructure
from fairlead_operator.state.infrastructure import ObjectKey, WantedObject

FOLDER = Path(__file__).parent / "golden"
CALLERS = network.Callers(operator="fairlead-system", prometheus="monitoring")
FULL = {
    "head": {"cpu": 1, "memory": "2Gi", "priorityClassName": "serving"},
    "worker": {
        "cpu": "1500m",
        "memory": "4Gi",
        "nodeSelector": {"pool": "serving"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
    "gateway": {"image": serving_classes.GATEWAY_IMAGE, "replicas": 3, "serviceType": "LoadBalancer"},
    "imagePullSecrets": ["registry-credentials"],
}


def compose(**changes: Any) -> tuple[WantedObject, ...]:
    class_ = serving_classes.make(**changes)
    return objects.compose("models", gateway_class=class_, clusters=["small-0123456789"], callers=CALLERS)


def digests(wanted: tuple[WantedObject, ...]) -> dict[ObjectKey, str]:
    return {each.key: each.digest for each in wanted}


@pytest.mark.parametrize("name", ["objects", "raycluster"])
def test_the_objects_are_those_of_the_golden_files(name: str) -> None:
    made = (
        [dict(each.body) for each in compose(**FULL)]
        if name == "objects"
        else [dict(ray_cluster.build(serving_classes.make(**FULL), namespace="models").body)]
    )
    path = FOLDER / f"{name}.yaml"
    if os.environ.get("FAIRLEAD_REFRESH") == "1":
        path.write_text(yaml.safe_dump_all(made, sort_keys=False, width=120))
    assert made == list(yaml.safe_load_all(path.read_text()))


def test_every_object_carries_the_labels_by_which_it_is_found_and_removed() -> None:
    for each in compose():
        assert each.body["metadata"]["labels"].items() >= infrastructure.product_labels().items()
        assert each.body["metadata"]["namespace"] == "models"
    secret = objects.token_secret("models", "a" * 64)
    assert secret["metadata"]["labels"] == infrastructure.product_labels()
    assert secret["immutable"]


def test_without_a_namespace_of_prometheus_only_the_operator_reads_the_gateway_and_the_dashboard() -> None:
    callers = network.Callers(operator="fairlead-system")
    for policy, port in ((network.gateway_policy(callers), 8001), (network.ray_policy(callers), 8265)):
        rules = [rule for rule in policy["spec"]["ingress"] if "ports" in rule and "from" in rule]
        assert [[each["port"] for each in rule["ports"]] for rule in rules] == [[port]]
        (source,) = rules[0]["from"]
        assert source == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "fairlead-system"}}}
        for_everybody = [rule for rule in policy["spec"]["ingress"] if not rule.get("from")]
        assert all([each["port"] for each in rule["ports"]] == [gateway.DATA_PORT] for rule in for_everybody)


def test_a_change_of_the_gateway_changes_what_it_is_about_and_nothing_else() -> None:
    before = digests(compose())
    after = digests(compose(gateway={"image": serving_classes.GATEWAY_IMAGE, "serviceType": "NodePort"}))
    assert [key for key in before if before[key] != after[key]] == [
        ObjectKey(infrastructure.SERVICE, "fairlead-gateway")
    ]


def test_the_ray_image_is_no_part_of_the_gateway() -> None:
    assert digests(compose()) == digests(compose(image=serving_classes.GATEWAY_IMAGE, rayVersion="2.61.0"))


def test_the_gateway_ends_within_its_grace_period() -> None:
    (deployment,) = (each.body for each in compose() if each.key.kind is infrastructure.DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > gateway.STOP_DELAY_S + gateway.STOP_GRACE_S


def test_a_gateway_with_everything_passes_the_pod_security_level_restricted() -> None:
    """The API server decides it in the integration tests; here is what it looks at."""
    (deployment,) = (each.body for each in compose() if each.key.kind is infrastructure.DEPLOYMENT)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = pod["containers"][0]["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
