"""Helm 3 installs, upgrades, rolls back and uninstalls the chart as Helm 4 does; Helm 4 goes on with its release.

The API server is real; there is no node, so no pod starts, and nothing waits for one.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import rich.console
import yaml
from tests.support import chart, go_programs
from tests.support.local_cluster import LocalClusterFactory

from fairlead_cli.local import binaries, cluster, progress

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REPORTER = progress.RichReporter(rich.console.Console())
CRDS = ("modeldeployments.fairlead.dev", "modelroutes.fairlead.dev", "servingclasses.fairlead.dev")
CLUSTER_WIDE = "crd,clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
NAMESPACED = "serviceaccounts,roles,rolebindings"
MODEL = {
    "apiVersion": "fairlead.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "digits", "namespace": "default"},
    "spec": {"model": {"uri": "https://models.example.com/digits.tar.gz", "version": "v1"}},
}


class Helm:
    """One of the two programs, on a cluster."""

    def __init__(self, program: Path, at: cluster.LocalCluster) -> None:
        self._program = program
        self._at = at

    def __call__(self, *arguments: str) -> str:
        """Its output; fails with its error output."""
        done = self._attempt(*arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    def change(self, command: str, *values: str) -> str:
        """`helm install` or `helm upgrade`."""
        done = self._attempt(command, "fairlead", str(chart.CHART), *self._given(values))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout

    def find_refusal(self, command: str, *values: str) -> str:
        """What `helm install` or `helm upgrade` says, which refuses these values."""
        done = self._attempt(command, "fairlead", str(chart.CHART), *self._given(values))
        assert done.returncode != 0, done.stdout
        return done.stderr

    def replace_class(self, refusal: str, *values: str) -> None:
        """Run the two commands of a refusal, with the chart and the values in their places."""
        found = re.search(r"helm (template .*) \| kubectl (replace .*)", refusal)
        assert found, refusal
        given = " ".join(self._given(values))
        template, replace = found.groups()
        made = self(*template.replace("CHART", str(chart.CHART)).replace("--values=VALUES", given).split())
        kubectl(self._at, *replace.split(), text=made)

    @staticmethod
    def _given(values: Sequence[str]) -> list[str]:
        return [f"--set={each}" for each in (*chart.IMAGES, *values)]

    def _attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [str(self._program), *arguments, f"--namespace={chart.SYSTEM}", f"--kubeconfig={self._at.kubeconfig}"]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def empty(local_cluster: LocalClusterFactory) -> cluster.LocalCluster:
    """A cluster without anything of Fairlead."""
    made = local_cluster(cluster.KUBERNETES_PARTS)
    for kinds in CLUSTER_WIDE, NAMESPACED:
        listed = kubectl(made, "get", kinds, "--all-namespaces", "--output=json")
        for each in json.loads(listed)["items"]:
            metadata = each["metadata"]
            if "fairlead" in metadata["name"]:
                where = [f"--namespace={metadata['namespace']}"] if "namespace" in metadata else []
                kubectl(made, "delete", f"{each['kind']}/{metadata['name']}", *where, "--timeout=60s")
    return made


@pytest.fixture(scope="module")
def helm3(empty: cluster.LocalCluster) -> Helm:
    return Helm(go_programs.obtain("helm3", REPORTER) / "helm", empty)


@pytest.fixture(scope="module")
def helm4(empty: cluster.LocalCluster) -> Helm:
    return Helm(binaries.find(["helm"], binaries.Sources.from_environment(), REPORTER).path("helm"), empty)


@contextlib.contextmanager
def release(at: cluster.LocalCluster, helm: Helm) -> Iterator[cluster.LocalCluster]:
    """The cluster with a first installation, and without anything of it afterwards."""
    helm.change("install")
    yield at
    helm("uninstall", "fairlead")
    kubectl(at, "delete", "crd", *CRDS, "--timeout=240s")


@pytest.fixture
def installed(empty: cluster.LocalCluster, helm3: Helm) -> Iterator[cluster.LocalCluster]:
    with release(empty, helm3) as made:
        yield made


def kubectl(at: cluster.LocalCluster, *arguments: str, text: str | None = None) -> str:
    done = at.kubectl(*arguments, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(at: cluster.LocalCluster, what: str, path: str = "{.spec}") -> str:
    return kubectl(at, "get", what, f"--namespace={chart.SYSTEM}", f"--output=jsonpath={path}")


def tag(value: str) -> str:
    """The value of the chart for the tag of the gateways' image."""
    return f"servingClass.gateway.image.tag={value}"


def image(at: cluster.LocalCluster) -> str:
    """That tag in the class."""
    return read(at, "sclass/default", "{.spec.gateway.image}").rpartition(":")[2]


def by_kind_and_name(objects: list[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


@pytest.mark.nightly
def test_helm_3_makes_the_objects_that_helm_4_makes(installed: cluster.LocalCluster, helm3: Helm) -> None:
    assert helm3("version", "--short").startswith("v3.")
    kept = [each for each in yaml.safe_load_all(helm3("get", "manifest", "fairlead")) if each]
    hooks = [each for each in yaml.safe_load_all(helm3("get", "hooks", "fairlead")) if each]
    assert by_kind_and_name([*kept, *hooks]) == by_kind_and_name(chart.render())
    assert read(installed, "sclass/default", "{.spec.default}") == "true"


@pytest.mark.nightly
def test_an_upgrade_and_a_rollback_change_crds_and_operator(installed: cluster.LocalCluster, helm3: Helm) -> None:
    crd = "crd/modeldeployments.fairlead.dev"
    before = read(installed, crd)
    # As an older chart could have had it: a column less.
    remove = [{"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns/0"}]
    kubectl(installed, "patch", crd, "--type=json", f"--patch={json.dumps(remove)}")
    helm3.change("upgrade", "operator.logLevel=debug")
    assert read(installed, crd) == before
    assert "debug" in read(installed, "deployment/fairlead-operator")
    helm3("rollback", "fairlead", "1")
    assert "debug" not in read(installed, "deployment/fairlead-operator")


@pytest.mark.nightly
def test_a_changed_class_is_refused_until_it_was_replaced_once(installed: cluster.LocalCluster, helm3: Helm) -> None:
    refusal = helm3.find_refusal("upgrade", tag("first"))
    assert "Helm 3 can't change the ServingClass default" in refusal
    assert image(installed) == "0.1.0"
    helm3.replace_class(refusal, tag("first"))
    helm3.change("upgrade", tag("first"))
    assert image(installed) == "first"
    helm3.change("upgrade", tag("second"))
    assert image(installed) == "second"
    helm3("rollback", "fairlead", "2")
    assert image(installed) == "first"


@pytest.mark.nightly
def test_models_and_their_class_outlive_the_release_and_the_next_one_takes_them_over(
    installed: cluster.LocalCluster, helm3: Helm
) -> None:
    kubectl(installed, "apply", "--filename=-", text=json.dumps(MODEL))
    helm3("uninstall", "fairlead")
    assert kubectl(installed, "get", "mdep,sclass", "--output=name").split() == [
        "modeldeployment.fairlead.dev/digits",
        "servingclass.fairlead.dev/default",
    ]
    helm3.replace_class(helm3.find_refusal("install", tag("again")), tag("again"))
    helm3.change("install", tag("again"))
    assert image(installed) == "again"
    kubectl(installed, "delete", "mdep/digits", "--timeout=60s")


@pytest.mark.nightly
def test_helm_4_upgrades_a_release_of_helm_3(installed: cluster.LocalCluster, helm4: Helm) -> None:
    helm4.replace_class(helm4.find_refusal("upgrade", tag("four")), tag("four"))
    helm4.change("upgrade", "operator.logLevel=debug", tag("four"))
    assert "debug" in read(installed, "deployment/fairlead-operator")
    assert image(installed) == "four"
    helm4.change("upgrade", tag("five"))
    assert image(installed) == "five"
    assert json.loads(helm4("list", "--output=json"))[0]["revision"] == "3"


@pytest.mark.nightly
def test_a_release_of_helm_4_changes_the_class_by_itself(empty: cluster.LocalCluster, helm4: Helm) -> None:
    with release(empty, helm4):
        helm4.change("upgrade", tag("four"))
        assert image(empty) == "four"
