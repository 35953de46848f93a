"""Helm itself installs, tests, upgrades and uninstalls the chart, under the Pod Security level `restricted`."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest
import yaml
from tests.node import helm, pods
from tests.support.until import until

from fairlead_cli.local.node import cluster

MODEL = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "digits"},
    "spec": {
        "model": {"uri": "https://models.example.com/digits.tar.gz", "version": "v1"},
        "cluster": {"class": "missing"},
    },
}
# Nothing is made of it here, so its images need not be there.
VALUES = {
    "servingClass": {
        "image": {"repository": "registry.example.com/ray-node"},
        "gateway": {"image": {"repository": "registry.example.com/gateway"}},
    }
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("values")


@pytest.fixture(scope="module")
def installed(node: cluster.NodeCluster, folder: pathlib.Path) -> Iterator[cluster.NodeCluster]:
    helm.install(node, VALUES, folder=folder)
    yield node
    helm.uninstall(node)


def operators(node: cluster.NodeCluster) -> list[str]:
    names = "--output=jsonpath={.items[*].metadata.name}"
    return pods.run(
        node, "get", "pods", f"--namespace={helm.SYSTEM}", "--selector=app.kubernetes.io/component=operator", names
    ).split()


def holder(node: cluster.NodeCluster) -> str:
    """The pod that has the Lease."""
    asked = ("get", "lease/fairlead-operator", f"--namespace={helm.SYSTEM}", "--output=jsonpath={.spec.holderIdentity}")
    found = node.kubectl(*asked)
    return found.stdout.rpartition("_")[0]


def condition(node: cluster.NodeCluster, name: str) -> dict[str, str] | None:
    found = json.loads(pods.run(node, "get", f"mdep/{name}", "--output=json"))
    conditions = found.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == "Ready"), None)


def test_helm_installs_operators_of_which_one_works(installed: cluster.NodeCluster) -> None:
    assert len(operators(installed)) == 2
    until(lambda: holder(installed) in operators(installed), "an operator that has the Lease")
    helm.run(installed, "test", helm.RELEASE, "--timeout=3m")


def test_a_model_is_seen_and_gets_a_condition(installed: cluster.NodeCluster) -> None:
    """There is no such ServingClass, and that is what it says."""
    pods.run(installed, "apply", "--server-side", "--filename=-", text=json.dumps(MODEL))
    seen = until(lambda: condition(installed, "digits"), "the condition Ready")
    assert seen["status"] != "True"
    assert seen["message"]
    pods.run(installed, "delete", "mdep/digits", "--timeout=60s")


def test_the_first_installation_makes_the_default_class_although_its_kind_is_new(
    installed: cluster.NodeCluster,
) -> None:
    made = json.loads(pods.run(installed, "get", "sclass/default", "--output=json"))
    assert made["spec"]["default"] is True
    assert made["spec"]["image"] == "registry.example.com/ray-node:0.1.0"


def test_another_operator_takes_over_when_the_working_one_is_killed(installed: cluster.NodeCluster) -> None:
    first = until(lambda: holder(installed), "an operator that has the Lease")
    pods.run(installed, "delete", f"pod/{first}", f"--namespace={helm.SYSTEM}", "--force", "--grace-period=0")
    until(lambda: holder(installed) not in ("", first), "another operator that has the Lease")


def test_an_upgrade_upgrades_the_crds_and_rolls_the_operator(
    installed: cluster.NodeCluster, folder: pathlib.Path
) -> None:
    crd = "crd/modeldeployments.fairlead.dev"
    before = pods.run(installed, "get", crd, "--output=jsonpath={.spec}")
    # As an older chart could have had it: a column less.
    remove = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]
    pods.run(installed, "patch", crd, "--type=json", f"--patch={json.dumps(remove)}")
    assert pods.run(installed, "get", crd, "--output=jsonpath={.spec}") != before
    old = set(operators(installed))
    values = helm.values_file(installed, {**VALUES, "operator": {"logLevel": "debug"}}, folder)
    how = ("--force-conflicts", "--wait", "--timeout=5m")
    helm.run(installed, "upgrade", helm.RELEASE, str(helm.CHART), f"--values={values}", *how)
    assert pods.run(installed, "get", crd, "--output=jsonpath={.spec}") == before
    until(lambda: not old & set(operators(installed)), "other operators")


def test_the_class_is_upgraded_with_the_chart_and_stays_when_it_goes(
    installed: cluster.NodeCluster, folder: pathlib.Path
) -> None:
    image = ("get", "sclass/default", "--output=jsonpath={.spec.gateway.image}")
    values = helm.values_file(installed, VALUES, folder)
    how = (f"--values={values}", "--wait", "--timeout=5m")
    helm.run(installed, "upgrade", helm.RELEASE, str(helm.CHART), "--set=servingClass.gateway.image.tag=new", *how)
    assert pods.run(installed, *image) == "registry.example.com/gateway:new"
    helm.run(installed, "rollback", helm.RELEASE, "--wait")
    assert pods.run(installed, *image) == "registry.example.com/gateway:0.1.0"
    helm.run(installed, "uninstall", helm.RELEASE, "--wait")
    assert pods.run(installed, *image) == "registry.example.com/gateway:0.1.0"
    helm.run(installed, "install", helm.RELEASE, str(helm.CHART), *how)


@pytest.mark.parametrize(
    ("values", "field"),
    [("operator.replicas=0", "replicas"), ("operatr.replicas=2", "operatr"), ("namespaces=x", "namespaces")],
)
def test_wrong_values_are_refused_with_the_field(installed: cluster.NodeCluster, values: str, field: str) -> None:
    done = helm.attempt(installed, "template", helm.RELEASE, str(helm.CHART), f"--set={values}")
    assert done.returncode != 0
    assert field in done.stderr


def test_the_rendered_chart_is_accepted_by_the_api_server(installed: cluster.NodeCluster, folder: pathlib.Path) -> None:
    values = helm.values_file(installed, {**VALUES, "namespaces": ["default"]}, folder)
    rendered = helm.run(installed, "template", helm.RELEASE, str(helm.CHART), f"--values={values}")
    kinds = [each["kind"] for each in yaml.safe_load_all(rendered) if each]
    assert {"CustomResourceDefinition", "Deployment", "PodDisruptionBudget", "NetworkPolicy"} <= set(kinds)
    pods.run(
        installed, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-", text=rendered
    )
