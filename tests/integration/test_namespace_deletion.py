"""`kubectl delete namespace` ends within a minute, whatever dies first: real API server and namespace controller."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.operated import Operated
from tests.support.until import until

from fairlead_cli.local import cluster, manifests

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

MODELS = ("digits", "digits--two", "sentiment")
LIMIT_S = 180
"""The product's promise is a minute on an idle machine, for a namespace whose Ray clusters and gateways are gone."""


@pytest.fixture(params=["namespace", pytest.param("all-namespaces", marks=pytest.mark.nightly)])
def operated(request: pytest.FixtureRequest, kubernetes: cluster.LocalCluster, tmp_path: Path) -> Iterator[Operated]:
    """A namespace with three models that serve, under either binding that the chart ships."""
    where = ("--all-namespaces",) if request.param == "all-namespaces" else ()
    binding = manifests.rbac_files()[0].with_name("operator-cluster.yaml")
    if where:
        kubernetes.kubectl("apply", "-f", str(binding))
    try:
        with Operated(kubernetes, tmp_path, where=where) as world:
            for name in MODELS:
                world.apply(name)
            for name in MODELS:
                world.until_ready(name)
            yield world
    finally:
        if where:
            kubernetes.kubectl("delete", "-f", str(binding))


def delete_namespace(operated: Operated) -> float:
    operated.kubectl("delete", "namespace", operated.namespace, "--wait=false", scoped=False)
    return time.monotonic()


def is_gone(operated: Operated) -> bool:
    return operated.api.get(f"/api/v1/namespaces/{operated.namespace}") is None


def explain(operated: Operated) -> str:
    namespace = operated.api.get(f"/api/v1/namespaces/{operated.namespace}")
    models = [operated.status(name).get("conditions") for name in MODELS]
    return (
        f"{json.dumps((namespace or {}).get('status'), indent=1)}\n{json.dumps(models)}\n{operated.operator.tail(60)}"
    )


def until_gone(operated: Operated) -> None:
    until(lambda: is_gone(operated), "the namespace is gone", deadline_s=400, explain=lambda: explain(operated))


def seconds_until_gone(operated: Operated, begun_s: float) -> float:
    until_gone(operated)
    return time.monotonic() - begun_s


@pytest.mark.parametrize("dead", [pytest.param("nothing", marks=pytest.mark.nightly), "gateway"])
def test_a_namespace_with_three_models_is_gone(operated: Operated, dead: str) -> None:
    if dead == "gateway":
        operated.gateway.stop()

    assert seconds_until_gone(operated, delete_namespace(operated)) < LIMIT_S


def test_an_operator_that_is_killed_amid_the_deletion_ends_it(operated: Operated) -> None:
    operated.ray.stop()
    operated.gateway.stop()
    delete_namespace(operated)
    until(lambda: "Cannot read" in str(operated.status("digits").get("conditions")), "the deletion waits")

    operated.kill_operator()
    operated.operator.start()

    # It has to start: on a busy machine that alone may take what a namespace is promised.
    until_gone(operated)
