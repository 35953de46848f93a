"""Kubernetes' own HorizontalPodAutoscaler on the scale subresource, over a real operator and a fake Ray."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.support import metrics_adapter
from tests.support.operated import Operated, manifest
from tests.support.until import until

from fairlead_cli.local import cluster, pki

pytestmark = pytest.mark.real

APIS = ("v1beta1.external.metrics.k8s.io", "v1beta2.custom.metrics.k8s.io")
SERVICE = {"name": "metrics-adapter", "namespace": "default"}
PER_REPLICA = {"type": "AverageValue", "averageValue": "5"}


class GivenRates:
    """The request rate of each model, as the test gives it."""

    def __init__(self) -> None:
        self.by_model: dict[str, float] = {}

    def rate(self, model: str) -> float:
        return self.by_model.get(model, 0.0)


@pytest.fixture(scope="module")
def operated(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with Operated(kubernetes, tmp_path_factory.mktemp("operated")) as world:
        yield world


@pytest.fixture(autouse=True)
def running_operator(operated: Operated) -> None:
    """No test is the victim of what ended the operator in the one before."""
    operated.require_operator()


@pytest.fixture(scope="module")
def rates(operated: Operated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GivenRates]:
    """Served by an adapter in this process, which the API server reaches through a Service of type ExternalName."""
    folder = tmp_path_factory.mktemp("adapter")
    pair = pki.Authority(folder).issue("tls", "adapter")
    assert pair.certificate == folder / "tls.crt"
    given = GivenRates()
    server = metrics_adapter.server("127.0.0.1", 0, folder, given)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with registered(operated, server.server_port):
            yield given
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def registered(operated: Operated, port: int) -> Iterator[None]:
    """The adapter serves two of the API server's APIs, which all tests of this run share."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": SERVICE,
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    text = yaml.safe_dump_all([service, *(api_service(name, port) for name in APIS)])
    operated.kubectl("apply", "-f", "-", scoped=False, input_text=text)
    try:
        for name in APIS:
            operated.kubectl("wait", "--for=condition=Available", f"apiservice/{name}", "--timeout=60s", scoped=False)
        yield
    finally:
        operated.kubectl("delete", "-f", "-", scoped=False, input_text=text)


def api_service(name: str, port: int) -> dict[str, Any]:
    version, _, group = name.partition(".")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {**SERVICE, "port": port},
        },
    }


def target(model: str) -> dict[str, str]:
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "ModelDeployment", "name": model}


def external(model: str, wanted_value: dict[str, str]) -> dict[str, Any]:
    metric = {"name": metrics_adapter.METRIC, "selector": {"matchLabels": {"model": model}}}
    return {"type": "External", "external": {"metric": metric, "target": wanted_value}}


def autoscale(operated: Operated, model: str, metric: dict[str, Any]) -> None:
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": model},
        "spec": {
            "scaleTargetRef": target(model),
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }
    operated.kubectl("apply", "-f", "-", input_text=yaml.safe_dump(body))


def scaling_active(operated: Operated, model: str) -> dict[str, Any]:
    found = json.loads(operated.kubectl("get", f"hpa/{model}", "-ojson"))
    conditions = found.get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == "ScalingActive"), {})


def wanted(operated: Operated, model: str) -> int:
    return int((operated.get(model) or {})["spec"]["scaling"]["replicas"])


def scaled_to(operated: Operated, model: str, number: int) -> bool:
    """Asked for, and running in Ray."""
    revision = operated.status(model)["stableRevision"]
    running = operated.ray.running(f"{operated.namespace}--{model}--{revision}")
    return wanted(operated, model) == running == number and operated.is_ready(model)


def until_scaled_to(operated: Operated, model: str, number: int) -> None:
    until(
        lambda: scaled_to(operated, model, number),
        f"{number} replicas",
        deadline_s=400,
        poll_s=0.5,
        explain=lambda: operated.kubectl("describe", f"hpa/{model}") + operated.explain(model),
    )


def test_a_model_follows_the_metric_up_and_down_and_git_keeps_the_number(operated: Operated, rates: GivenRates) -> None:
    operated.apply("busy")
    operated.until_ready("busy")
    rates.by_model["busy"] = 13
    autoscale(operated, "busy", external("busy", PER_REPLICA))
    until_scaled_to(operated, "busy", 3)
    in_git = yaml.safe_dump(manifest("busy", "file:///models/good", {}))
    operated.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input_text=in_git)
    operated.kubectl("apply", "-f", "-", input_text=in_git)
    assert wanted(operated, "busy") == 3
    rates.by_model["busy"] = 2
    until_scaled_to(operated, "busy", 1)


def test_a_rollout_goes_on_with_the_number_that_the_autoscaler_gives(operated: Operated, rates: GivenRates) -> None:
    """While a candidate is held, the selector is the stable revision's, and the number follows the metric."""
    operated.apply("rolled", uri="file:///models/one")
    stable = operated.until_ready("rolled")["stableRevision"]
    steps = {"strategy": "Canary", "steps": [{"setWeight": 50}, {"pause": {}}]}
    operated.apply("rolled", uri="file:///models/two", rollout=steps)
    until(lambda: operated.status("rolled").get("phase") == "Paused", "a candidate that is held", deadline_s=400)
    rates.by_model["rolled"] = 8
    autoscale(operated, "rolled", external("rolled", PER_REPLICA))
    until(lambda: wanted(operated, "rolled") == 2, "2 replicas asked for", deadline_s=400, poll_s=0.5)
    selector = operated.status("rolled")["selector"]
    assert selector == f"fairlead.dev/model=rolled,fairlead.dev/revision={stable}"


def test_a_metric_of_the_object_itself_works_as_well(operated: Operated, rates: GivenRates) -> None:
    operated.apply("described")
    operated.until_ready("described")
    rates.by_model["described"] = 8
    metric = {"describedObject": target("described"), "metric": {"name": metrics_adapter.METRIC}, "target": PER_REPLICA}
    autoscale(operated, "described", {"type": "Object", "object": metric})
    until_scaled_to(operated, "described", 2)


@pytest.mark.parametrize(
    ("model", "metric", "reason", "why"),
    [
        pytest.param(
            "together",
            external("together", {"type": "Value", "value": "5"}),
            "FailedGetExternalMetric",
            "no pods returned by selector",
            id="a target for all replicas together",
        ),
        pytest.param(
            "processors",
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"}}},
            "FailedGetResourceMetric",
            "resource metrics API",
            id="the use of processors",
        ),
    ],
)
def test_what_is_counted_in_pods_is_refused_and_changes_nothing(
    operated: Operated, rates: GivenRates, model: str, metric: dict[str, Any], reason: str, why: str
) -> None:
    """No pod belongs to one model: the controller can't compute it, and says so."""
    operated.apply(model, scaling={"replicas": 2})
    operated.until_ready(model)
    rates.by_model[model] = 100
    autoscale(operated, model, metric)
    until(
        lambda: scaling_active(operated, model).get("reason") == reason,
        "the controller's refusal",
        deadline_s=400,
        poll_s=0.5,
        explain=lambda: operated.kubectl("describe", f"hpa/{model}"),
    )
    assert why in scaling_active(operated, model)["message"]
    assert wanted(operated, model) == 2


def test_a_stopped_model_stays_stopped(operated: Operated, rates: GivenRates) -> None:
    operated.apply("stopped", scaling={"replicas": 0})
    rates.by_model["stopped"] = 100
    autoscale(operated, "stopped", external("stopped", PER_REPLICA))
    until(
        lambda: scaling_active(operated, "stopped").get("reason") == "ScalingDisabled",
        "the controller's word that it is stopped",
        deadline_s=400,
        poll_s=0.5,
    )
    assert wanted(operated, "stopped") == 0
