"""`kubectl delete namespace` where the real Ray and the real gateway were killed first, and the operator amid it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.our_processes import kill_for_good, kill_operator
from tests.support import leftovers, made_once
from tests.support.kube_api import KubeApi
from tests.support.until import until

from fairlead_cli.local import cluster, options

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

NAMESPACE = "doomed"
MODELS = ("digits", "digits--two", "sentiment")
LIMIT_S = 180
"""The product's promise is a minute on an idle machine; this one may have much else to do."""
START_S = 300


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.LocalCluster]:
    """A whole cluster whose namespace has three models that serve."""
    folder = tmp_path_factory.mktemp("doomed")
    models = made_once.models(tmp_path_factory)
    made = cluster.LocalCluster("doomed", folder / "cluster", chosen=options.Options(namespace=NAMESPACE))
    with leftovers.owned(made):
        made.up()
        for name in MODELS:
            applied = made.kubectl("apply", "-n", NAMESPACE, "-f-", input=manifest(name, models / "dense"))
            assert applied.returncode == 0, applied.stderr
        for name in MODELS:
            ready = ("wait", "mdep", name, "-n", NAMESPACE, "--for=condition=Ready", "--timeout=100s")
            until(lambda ready=ready: made.kubectl(*ready).returncode == 0, f"{name} is ready", deadline_s=START_S)  # type: ignore[misc]
        yield made


def manifest(name: str, model: Path) -> str:
    return json.dumps(
        {
            "apiVersion": "fairlead.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": {
                "model": {"uri": model.as_uri()},
                "serving": {"resources": {"cpu": "100m", "memory": "400Mi"}},
                "scaling": {"replicas": 1},
            },
        }
    )


@pytest.mark.nightly
def test_the_namespace_is_gone_although_all_that_it_needs_was_killed(
    local: cluster.LocalCluster,
) -> None:
    api = KubeApi(local.kubeconfig, NAMESPACE)
    kill_for_good(local, "ray")
    kill_for_good(local, "gateway")

    assert local.kubectl("delete", "namespace", NAMESPACE, "--wait=false").returncode == 0
    begun_s = time.monotonic()
    kill_operator(local)

    def explain() -> str:
        return "\n".join((local.logs / "operator.log").read_text(errors="replace").splitlines()[-60:])

    path = f"/api/v1/namespaces/{NAMESPACE}"
    until(lambda: api.get(path) is None, "the namespace is gone", deadline_s=300, explain=explain)
    api.close()
    assert time.monotonic() - begun_s < LIMIT_S
