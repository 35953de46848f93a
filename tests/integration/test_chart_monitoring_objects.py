"""A real API server takes the chart's monitors, rules and dashboards, with the Prometheus operator's own CRDs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from tests.support import chart, go_modules

from fairlead_cli.local import cluster

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
MODULE, VERSION = "github.com/prometheus-operator/prometheus-operator", "v0.85.0"
CHECKSUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
KINDS = {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}
ON = (
    "monitoring.namespace=monitoring",
    *(f"monitoring.{part}.enabled=true" for part in ("podMonitors", "rules", "dashboards")),
    "monitoring.podMonitors.labels.release=prometheus",
    "namespaces={shop}",
)


@pytest.fixture(scope="module")
def with_crds(kubernetes: cluster.LocalCluster) -> Iterator[cluster.LocalCluster]:
    crds = go_modules.folder(MODULE, VERSION, checksum=CHECKSUM) / "example" / "prometheus-operator-crd"
    files = [f"--filename={crds}/monitoring.coreos.com_{plural}.yaml" for plural in KINDS.values()]
    run(kubernetes, "apply", "--server-side", *files)
    run(kubernetes, "wait", "--for=condition=Established", "--timeout=60s", *files)
    yield kubernetes
    run(kubernetes, "delete", "--wait=false", *files)


def run(kubernetes: cluster.LocalCluster, *arguments: str, text: str | None = None) -> str:
    done = kubernetes.kubectl(*arguments, input=text)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_api_server_takes_every_field_of_the_monitoring_objects(with_crds: cluster.LocalCluster) -> None:
    objects = [each for each in chart.render(*ON) if each["kind"] in (*KINDS, "ConfigMap")]
    text = yaml.safe_dump_all(objects)
    how = ("--server-side", "--validate=strict", "--dry-run=server", "--output=json")
    taken = json.loads(run(with_crds, "apply", *how, "--filename=-", text=text))["items"]
    assert len(taken) == len(objects) >= 4 + 1 + 4
    for sent, found in zip(objects, taken, strict=True):
        assert found["metadata"]["name"] == sent["metadata"]["name"]
        part = "data" if sent["kind"] == "ConfigMap" else "spec"
        assert found[part] == sent[part]


def test_a_field_that_the_kind_does_not_have_is_refused(with_crds: cluster.LocalCluster) -> None:
    """So the test above would see one."""
    monitor = {**chart.of_kind(chart.render(*ON), "PodMonitor")["fairlead-ray"]}
    monitor["spec"] = {**monitor["spec"], "podTargetLabel": ["a"]}
    how = ("--server-side", "--validate=strict", "--dry-run=server", "--filename=-")
    done = with_crds.kubectl("apply", *how, input=json.dumps(monitor))
    assert done.returncode != 0
    assert "podTargetLabel" in done.stderr
