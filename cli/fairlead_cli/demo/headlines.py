"""The few metrics of the gateway and the operator that the demo shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import httpx
from prometheus_client import parser


def read_gateway(admin_url: str) -> Iterator[str]:
    """Requests by model, revision and code, as the clients saw them."""
    counts: dict[tuple[str, str, str], float] = defaultdict(float)
    for name, labels, value in read_samples(admin_url):
        if name == "fairlead_gateway_requests_total":
            counts[labels["model"], labels["revision"], labels["code"]] += value
    for (model, revision, code), value in sorted(counts.items()):
        yield f"fairlead_gateway_requests_total  {model:<6} {revision or '-':<11} {code}  {value:,.0f}"


def read_operator(url: str) -> Iterator[str]:
    """How often it reconciled."""
    counts: dict[str, float] = defaultdict(float)
    for name, labels, value in read_samples(url):
        if name == "fairlead_operator_reconcile_total":
            counts[" ".join(labels.values())] += value
    for labels_text, value in sorted(counts.items()):
        yield f"fairlead_operator_reconcile_total  {labels_text}  {value:,.0f}"


def read_samples(url: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each series of a ``/metrics``."""
    text = httpx.get(f"{url}/metrics", timeout=10).raise_for_status().text
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value
