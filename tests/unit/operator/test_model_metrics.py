"""Each model's series: valid in Prometheus' format, as the status says, and gone with the model."""

from __future__ import annotations

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from fairlead_operator.model_metrics import ModelMetrics
from fairlead_operator.telemetry import Metrics

READY = {
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "Unknown"}],
    "revisions": [
        {"name": "a", "role": "Stable", "wantedReplicas": 3, "readyReplicas": 2},
        {"name": "b", "role": "Candidate", "wantedReplicas": 1, "readyReplicas": 0},
        {"name": "c", "role": "Retired"},
    ],
    "rollout": {"phase": "Shifting"},
    "quarantine": [{"revision": "c"}],
}


def _series(text: bytes) -> dict[tuple[str, ...], float]:
    """Values by name and label values; each metric's series have to be together."""
    found: dict[tuple[str, ...], float] = {}
    names = []
    for family in text_string_to_metric_families(text.decode()):
        names.append(family.name)
        for sample in family.samples:
            assert list(sample.labels) == sorted(sample.labels), "as the client library writes them"
            name, labels = sample.name.removeprefix("fairlead_operator_model_"), dict(sample.labels)
            found[name, labels.pop("namespace"), labels.pop("model"), *labels.values()] = sample.value
    assert len(names) == len(set(names))
    return found


def test_a_models_series_are_those_of_its_status() -> None:
    metrics = ModelMetrics()
    metrics.show("shop", "digits", READY)
    metrics.show("shop", "reviews", {"conditions": [{"type": "Ready", "status": "False"}]})
    assert _series(metrics.exposition()) == {
        ("condition", "shop", "digits", "Ready"): 1,
        ("condition", "shop", "digits", "Degraded"): -1,
        ("condition", "shop", "reviews", "Ready"): 0,
        ("revisions", "shop", "digits"): 3,
        ("revisions", "shop", "reviews"): 0,
        ("rollout", "shop", "digits", "Shifting"): 1,
        ("quarantined", "shop", "digits"): 1,
        ("quarantined", "shop", "reviews"): 0,
        ("wanted_replicas", "shop", "digits", "Stable"): 3,
        ("wanted_replicas", "shop", "digits", "Candidate"): 1,
        ("ready_replicas", "shop", "digits", "Stable"): 2,
        ("ready_replicas", "shop", "digits", "Candidate"): 0,
    }


def test_a_replica_that_waits_for_room_is_shown_while_it_waits() -> None:
    metrics = ModelMetrics()
    for name, scaling in (("digits", {"replicas": 3}), ("reviews", {"replicas": 1, "waitingSince": "2026-01-01"})):
        metrics.show("shop", name, {"scaling": scaling})
    waits = {model: value for (name, _, model), value in _series(metrics.exposition()).items() if name.endswith("s")}
    assert waits == {"digits": 0, "reviews": 1}


def test_series_that_no_longer_hold_are_removed() -> None:
    metrics = ModelMetrics()
    metrics.show("shop", "digits", READY)
    metrics.show("shop", "digits", {"conditions": [{"type": "Ready", "status": "False"}]})
    assert set(_series(metrics.exposition())) == {
        ("condition", "shop", "digits", "Ready"),
        ("revisions", "shop", "digits"),
        ("quarantined", "shop", "digits"),
    }
    metrics.forget("shop", "digits")
    metrics.forget("shop", "never-seen")
    assert _series(metrics.exposition()) == {}


def test_a_model_has_a_bounded_number_of_series_whatever_its_status_holds() -> None:
    kinds = ("Ready", "Available", "Accepted", "Progressing", "Degraded", "Reconciling", "Stalled")
    roles = ("Stable", "Candidate", "Warm", "Draining", *["Retired"] * 60)
    status: dict[str, Any] = {
        "conditions": [{"type": kind, "status": "True"} for kind in kinds],
        "revisions": [{"name": str(number), "role": role} for number, role in enumerate(roles)],
        "rollout": {"phase": "Shifting"},
        "quarantine": [{"revision": str(number)} for number in range(10)],
    }
    metrics = ModelMetrics()
    metrics.show("shop", "digits", status)
    assert len(_series(metrics.exposition())) == 7 + 3 + 2 * 4
    metrics.show("shop", "digits", {**status, "revisions": status["revisions"][:1], "rollout": None})
    assert len(_series(metrics.exposition())) == 11


def test_a_label_with_special_characters_stays_one_series() -> None:
    metrics = ModelMetrics()
    odd = 'a"b\\c\nd'
    status: dict[str, Any] = {"conditions": [{"type": odd, "status": "True"}]}
    metrics.show("shop", "digits", status)
    assert ("condition", "shop", "digits", odd) in _series(metrics.exposition())


def test_the_operators_page_has_its_own_metrics_and_those_of_the_models() -> None:
    metrics = Metrics()
    metrics.models.show("shop", "digits", READY)
    metrics.reconciles.labels("ModelKey", "done").inc()
    names = {family.name for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {"fairlead_operator_reconcile", "fairlead_operator_model_condition"} <= names
