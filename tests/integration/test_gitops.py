"""What GitOps tools do with kubectl, against a real API server and the real operator."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.support import chart, serving_classes
from tests.support.operated import Operated, manifest

from fairlead_cli.local import cluster

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
NAME = "digits"
PATCH = chart.CHART / "files" / "argocd" / "argocd-cm.yaml"


@pytest.fixture
def operated(kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[Operated]:
    with Operated(kubernetes, tmp_path) as made:
        yield made


def wait(operated: Operated, condition: str) -> None:
    operated.kubectl("wait", f"mdep/{NAME}", f"--for=condition={condition}", "--timeout=400s")


def test_kubectl_waits_for_a_commit_a_bad_one_and_its_revert(operated: Operated) -> None:
    operated.apply(NAME)
    wait(operated, "Ready")
    operated.apply(NAME, "file:///models/broken")
    wait(operated, "Stalled")
    wait(operated, "Ready=False")
    assert "ModelCorrupt" in operated.condition(NAME, "Stalled")["message"]
    assert operated.condition(NAME, "Available")["status"] == "True"
    operated.apply(NAME)
    wait(operated, "Ready")
    wait(operated, "Stalled=False")


def test_two_managers_share_an_object_and_ten_reconciles_find_no_difference(operated: Operated) -> None:
    """Flux applies on the server's side with its own manager; `replicas` is left to another one."""
    text = json.dumps(manifest(NAME, "file:///models/good", {}))
    flux = ("--server-side", "--field-manager=kustomize-controller", "--filename=-")
    operated.kubectl("apply", *flux, input_text=text)
    operated.until_ready(NAME)
    replicas = manifest(NAME, "file:///models/good", {"scaling": {"replicas": 2}})
    del replicas["spec"]["model"]
    operated.kubectl(
        "apply", "--server-side", "--field-manager=scaler", "--filename=-", input_text=json.dumps(replicas)
    )
    operated.until_ready(NAME)
    before = operated.get(NAME)
    assert before is not None
    for _ in range(10):
        operated.kubectl("diff", *flux, input_text=text)  # fails where there is a difference
        operated.kubectl("apply", *flux, input_text=text)
    after = operated.get(NAME)
    assert after is not None
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])
    assert after["spec"]["scaling"] == {"replicas": 2}
    managers = {each["manager"]: each["operation"] for each in after["metadata"]["managedFields"]}
    assert {"kustomize-controller": "Apply", "scaler": "Apply"}.items() <= managers.items()


def test_an_object_that_the_operator_has_not_seen_says_so(kubernetes: cluster.LocalCluster) -> None:
    """Flux takes an object without a status for one that needs no controller, and so for a finished one."""
    name = f"unseen-{uuid.uuid4().hex[:8]}"
    for body in (manifest(name, "file:///models/good", {}), serving_classes.manifest(name)):
        created = kubernetes.kubectl("create", "--filename=-", "--output=json", input=json.dumps(body))
        assert created.returncode == 0, created.stderr
        kubernetes.kubectl("delete", f"{body['kind']}/{name}")
        found = json.loads(created.stdout)
        assert (found["metadata"]["generation"], found.get("status")) == (1, {"observedGeneration": 0}), body["kind"]


def test_argo_cds_configuration_is_patched_as_documented(operated: Operated) -> None:
    own = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "https://argo"}}
    operated.kubectl("create", "--filename=-", input_text=json.dumps(own))
    operated.kubectl("patch", "configmap", "argocd-cm", "--type", "merge", "--patch-file", str(PATCH))
    found = json.loads(operated.kubectl("get", "configmap", "argocd-cm", "--output=json"))["data"]
    assert found == {"url": "https://argo", **yaml.safe_load(PATCH.read_text())["data"]}
