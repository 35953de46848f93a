"""A value of the chart is one value of an object: none becomes another type, another field or another flag."""

from __future__ import annotations

import pytest
from tests.support import chart

from fairlead_operator.desired.namespace import network

pytestmark = pytest.mark.timeout(1200)


def test_names_that_yaml_reads_as_numbers_truth_values_or_null_stay_names() -> None:
    names = ("123", "true", "null")
    given = [f"namespaces[{place}]={name}" for place, name in enumerate(names)]
    objects = chart.render(strings=(*given, "servingClass.name=true"))
    bound = [each["metadata"]["namespace"] for each in objects if each["kind"] == "RoleBinding"]
    assert set(names) <= set(bound)
    (made,) = chart.of_kind(objects, "ServingClass").values()
    assert made["metadata"]["name"] == "true"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("publicUrls.shop=http://x\n        - --namespace=kube-system", "publicUrls"),
        ("publicUrls.shop=http://x/#frag: y", "publicUrls"),
        ("publicUrls.Shop=http://x", "Shop"),
        ("prometheusUrls.shop=http://x y", "prometheusUrls"),
        ("operator.priorityClassName=x\n      hostNetwork: true", "priorityClassName"),
        ("operator.image.repository=a b", "repository"),
        ("operator.image.tag=1.0 # x", "tag"),
    ],
)
def test_a_value_that_would_be_more_than_one_is_refused_by_name(value: str, field: str) -> None:
    assert field in chart.find_refusal(value)


def test_only_prometheus_and_the_pod_of_helm_test_connect_to_the_operator() -> None:
    def sources(*values: str) -> list[object]:
        policy = chart.of_kind(chart.render(*values), "NetworkPolicy")["fairlead-operator"]
        (rule,) = policy["spec"]["ingress"]
        return list(rule["from"])

    (test_pod,) = sources()
    pods = chart.of_kind(chart.render(), "Pod")
    labels = pods["fairlead-answers"]["metadata"]["labels"]
    assert test_pod["podSelector"]["matchLabels"].items() <= labels.items()
    _, prometheus = sources("monitoring.namespace=monitoring")
    assert prometheus["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert prometheus["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}


def test_the_operator_s_pods_have_the_labels_by_which_network_policies_let_them_in() -> None:
    deployment = chart.of_kind(chart.render(), "Deployment")["fairlead-operator"]
    assert network.OPERATOR_LABELS.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
