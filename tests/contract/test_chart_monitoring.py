"""The chart's monitors select the pods that there are, by ports that they have, and its rules are the tested ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from tests.support import alert_rules, chart, serving_classes

from fairlead_operator.desired import ray_cluster
from fairlead_operator.desired.namespace import gateway

pytestmark = pytest.mark.timeout(1200)
ON = ("monitoring.namespace=monitoring", "monitoring.podMonitors.enabled=true", "monitoring.rules.enabled=true")
CLASS = serving_classes.make()
REPLICAS = "fairlead-replicas"
Pods = Mapping[str, Any]


def pod_templates(objects: list[Mapping[str, Any]]) -> dict[str, list[Pods]]:
    """What makes the pods that each monitor is for. Replicas are processes of Ray's workers."""
    ray = ray_cluster.build(CLASS, namespace="shop").body["spec"]
    return {
        "fairlead-operator": [chart.of_kind(objects, "Deployment")["fairlead-operator"]["spec"]["template"]],
        "fairlead-gateway": [gateway.deployment(CLASS, "shop")["spec"]["template"]],
        "fairlead-ray": [group["template"] for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"])],
    }


def is_selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    needed = {each["key"] for each in selector.get("matchExpressions", ()) if each["operator"] == "Exists"}
    return wanted.items() <= labels.items() and needed <= labels.keys()


def port_names(template: Pods) -> set[str]:
    return {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", ())}


def test_nothing_of_the_prometheus_operator_is_made_unless_it_is_asked_for() -> None:
    assert [each["kind"] for each in chart.render() if each["apiVersion"].startswith("monitoring.")] == []


def test_each_monitor_selects_its_pods_and_no_others_by_a_port_that_they_have() -> None:
    objects = chart.render(*ON)
    monitors, templates = chart.of_kind(objects, "PodMonitor"), pod_templates(objects)
    assert monitors.keys() == {*templates, REPLICAS}
    for name, monitor in monitors.items():
        spec, its_owner = monitor["spec"], "fairlead-ray" if name == REPLICAS else name
        for owner, pods in templates.items():
            selected = {is_selected(spec["selector"], pod["metadata"]["labels"]) for pod in pods}
            assert selected == {owner == its_owner}, f"{name} and the pods of {owner}"
        for endpoint in spec["podMetricsEndpoints"]:
            assert any(endpoint["port"] in port_names(pod) for pod in templates[its_owner])


def test_only_the_operators_series_may_name_a_namespace_or_have_any_name() -> None:
    """A user of a namespace may make pods that the other monitors select."""
    monitors = chart.of_kind(chart.render(*ON), "PodMonitor")
    kept = {"fairlead-gateway": "fairlead_gateway_.*", REPLICAS: "fairlead_replica_.*", "fairlead-ray": "ray_.*"}
    assert monitors.keys() == {"fairlead-operator", *kept}
    for name, monitor in monitors.items():
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        if name == "fairlead-operator":
            assert endpoint["honorLabels"] is True, "else `namespace` of a model becomes exported_namespace"
            assert "metricRelabelings" not in endpoint
        else:
            assert "honorLabels" not in endpoint
            keep, drop = endpoint["metricRelabelings"]
            assert keep == {"action": "keep", "sourceLabels": ["__name__"], "regex": kept[name]}
            assert drop == {"action": "labeldrop", "regex": "exported_namespace"}


def test_monitors_look_where_models_are() -> None:
    everywhere = chart.of_kind(chart.render(*ON), "PodMonitor")
    assert everywhere["fairlead-gateway"]["spec"]["namespaceSelector"] == {"any": True}
    limited = chart.of_kind(chart.render(*ON, "namespaces={shop,search}"), "PodMonitor")
    assert limited["fairlead-gateway"]["spec"]["namespaceSelector"] == {"matchNames": ["shop", "search"]}
    assert limited["fairlead-operator"]["spec"]["namespaceSelector"] == {"matchNames": [chart.SYSTEM]}


def test_the_rules_are_those_that_promtool_tested_with_the_runbooks_address() -> None:
    url = "https://wiki.example.com/runbook"
    labels = "monitoring.rules.labels.release=prometheus"
    made = chart.of_kind(chart.render(*ON, labels, f"monitoring.rules.runbookUrl={url}"), "PrometheusRule")["fairlead"]
    assert made["metadata"]["labels"]["release"] == "prometheus"
    shipped = alert_rules.RULES.read_text()
    assert {"groups": made["spec"]["groups"]} == yaml.safe_load(shipped.replace("docs/runbook.md#", f"{url}#"))


def test_what_the_monitors_and_the_rules_call_the_targets_is_the_same() -> None:
    """A PodMonitor's job is `<namespace>/<name>`. A Ray worker without replicas has no directory: that is no fault."""
    (alert,) = [rule for rule in alert_rules.alerts() if rule["alert"] == "FairleadTargetDown"]
    names = [
        name.removeprefix("fairlead-") for name in chart.of_kind(chart.render(*ON), "PodMonitor") if name != REPLICAS
    ]
    assert f"fairlead-({'|'.join(sorted(names, key=['operator', 'gateway', 'ray'].index))})" in alert["expr"]
