"""The flags that the chart gives the operator are settings that it has."""

from __future__ import annotations

import pytest
from tests.support import chart

from fairlead_operator import settings

pytestmark = pytest.mark.timeout(1200)


def load(*values: str) -> settings.Settings:
    deployment = chart.of_kind(chart.render(*values), "Deployment")["fairlead-operator"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return settings.load(container["args"], {})


def test_without_urls_the_operator_serves_all_namespaces_and_shows_and_asks_nothing() -> None:
    found = load()
    assert (found.namespaces, found.public_urls, found.prometheus_urls) == ((), {}, {})
    assert found.is_cluster_mode


def test_the_network_policies_let_in_the_prometheus_of_the_namespace_that_is_given() -> None:
    assert load().monitoring_namespace is None
    assert load("monitoring.namespace=monitoring").monitoring_namespace == "monitoring"


def test_the_urls_of_a_namespace_are_what_the_values_say() -> None:
    prometheus, public = "http://prometheus.monitoring.svc:9090", "https://models.example.com"
    namespaces = ("shop", "search")
    found = load(*(f"prometheusUrls.{each}={prometheus}" for each in namespaces), f"publicUrls.shop={public}")
    assert found.prometheus_urls == {"shop": prometheus, "search": prometheus}
    assert found.public_urls == {"shop": public}
