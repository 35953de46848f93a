"""kubeconform and kube-score judge the chart, and what the operator makes in a namespace."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rich.console
import yaml
from tests.support import chart, go_modules, go_programs, kubeconform
from tests.support.kube_api import KubeApi

from fairlead_cli.local import cluster, paths, progress, versions
from fairlead_cli.local.node import kuberay

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
REPORTER = progress.RichReporter(rich.console.Console())
GOLDEN = Path(__file__).parents[1] / "unit" / "operator" / "desired" / "namespace" / "golden"
PROMETHEUS = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0")
PROMETHEUS_CHECKSUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
MONITORING = (
    "monitoring.namespace=monitoring",
    *(f"monitoring.{each}.enabled=true" for each in ("podMonitors", "rules", "dashboards")),
)
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "as it is": (),
    "two namespaces": ("namespaces={shop,search}", "publicUrls.shop=https://shop.example"),
    "one replica": ("operator.replicas=1", "networkPolicy.enabled=false"),
    "everything": (
        *MONITORING,
        "imagePullSecrets[0].name=credentials",
        "operator.priorityClassName=high",
        "operator.nodeSelector.pool=system",
        "servingClass.sources.allowedNetworks={10.96.0.0/12}",
        "servingClass.sources.credentials[0].secretName=bucket-reader",
        "servingClass.sources.credentials[0].hosts={s3.eu-central-1.amazonaws.com}",
    ),
}
ALL_OK = 10
"""The grade of what kube-score has nothing to say about."""
PODS = ("Deployment fairlead-operator", "Deployment fairlead-gateway", "Pod fairlead-answers")
EXCEPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "container-image-pull-policy": (
        "an image is given by digest, or by the tag of a version, so there is nothing newer to pull, and a pod starts "
        "while the registry is away",
        PODS,
    ),
    "container-resources": (
        "a limit of CPU throttles a pod on an idle node; requests and limits of memory are set",
        PODS,
    ),
    "container-ephemeral-storage-request-and-limit": (
        "the root file system is read-only, and each emptyDir has a size limit",
        PODS,
    ),
    "pod-networkpolicy": (
        "what may come in is limited; what goes out is the API server, Ray and replicas on any port, whose addresses "
        "differ in each cluster. The pod of `helm test` ends after three requests",
        PODS,
    ),
    "deployment-has-host-podantiaffinity": (
        "pods are spread by topologySpreadConstraints, which also work where there is one node",
        PODS[:2],
    ),
    "networkpolicy-targets-pod": ("KubeRay makes the pods, from the RayCluster", ("NetworkPolicy fairlead-ray",)),
    "service-targets-pod": ("KubeRay makes the pods, from the RayCluster", ("Service small-0123456789-nodes",)),
}
"""Findings of kube-score that stay: for each the reason and the objects."""


def render(variant: str) -> list[dict[str, Any]]:
    return [dict(each) for each in chart.render(*VARIANTS[variant])]


def recorded() -> list[dict[str, Any]]:
    """What the operator makes in a namespace."""
    files = (GOLDEN / "objects.yaml", GOLDEN / "raycluster.yaml")
    return [each for path in files for each in yaml.safe_load_all(path.read_text())]


@pytest.fixture(scope="module")
def schemas(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schemas")
    api = KubeApi(kubernetes.kubeconfig, "default")
    kubeconform.write_schemas(api, folder)
    api.close()
    prometheus = go_modules.folder(*PROMETHEUS, checksum=PROMETHEUS_CHECKSUM) / "example" / "prometheus-operator-crd"
    others = [prometheus / f"monitoring.coreos.com_{each}.yaml" for each in ("podmonitors", "prometheusrules")]
    others.append(kuberay.obtain_manifests(paths.cache_dir(), REPORTER) / "config/crd/bases/ray.io_rayclusters.yaml")
    kubeconform.write_schemas_of_crds(kubernetes, others, folder)
    return folder


@pytest.fixture(scope="module")
def judge() -> Path:
    return go_programs.obtain("kubeconform", REPORTER) / "kubeconform"


@pytest.mark.parametrize("variant", [*VARIANTS, "what the operator makes"])
def test_every_object_fits_the_schema_of_its_kind(variant: str, schemas: Path, judge: Path) -> None:
    objects = render(variant) if variant in VARIANTS else recorded()
    assert kubeconform.find_faults(judge, schemas, objects) == (len(objects), [])


@pytest.mark.parametrize("kind", ["Deployment", "ClusterRole", "ServingClass", "PodMonitor", "RayCluster"])
def test_a_field_that_a_kind_does_not_have_is_found(kind: str, schemas: Path, judge: Path) -> None:
    """So the test above would find one."""
    every = [*render("everything"), *recorded()]
    changed = copy.deepcopy(next(each for each in every if each["kind"] == kind))
    (changed["rules"][0] if kind == "ClusterRole" else changed["spec"])["replica"] = 1
    count, (fault,) = kubeconform.find_faults(judge, schemas, [changed])
    assert count == 1
    assert "replica" in fault


def score(objects: list[dict[str, Any]], *, within: str) -> set[tuple[str, str]]:
    """What kube-score finds: check and object."""
    program = go_programs.obtain("kube-score", REPORTER) / "kube-score"
    version = ".".join(versions.KUBERNETES.split(".")[:2])
    argv = [str(program), "score", "--output-format=json", f"--kubernetes-version={version}", "-"]
    placed = [{**each, "metadata": {"namespace": within, **each["metadata"]}} for each in objects]
    done = subprocess.run(
        argv, input=yaml.safe_dump_all(placed), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout, done.stderr
    return {
        (check["check"]["id"], f"{each['type_meta']['kind']} {each['object_meta']['name']}")
        for each in json.loads(done.stdout)
        for check in each["checks"]
        if not check["skipped"] and check["grade"] < ALL_OK
    }


def test_kube_score_finds_what_the_table_explains_and_nothing_else() -> None:
    release = render("everything")
    found = score(release, within=chart.SYSTEM) | score(recorded(), within="models")
    assert found == {(check, each) for check, (_, objects) in EXCEPTIONS.items() for each in objects}
