"""The series of each model, kept as text: rendered when a status changes, joined when they are asked for.

prometheus_client keeps an object for each series and renders every one of them at each scrape. With 10,000 models, so
80,000 series, that took 2.3 s of processor time a scrape. The format is the text format 0.0.4 of Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fairlead_operator.api.revision_status import RevisionRole

_VALUES = {"True": 1.0, "False": 0.0}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Family(NamedTuple):
    """A gauge with the labels ``namespace`` and ``model`` and these others."""

    name: str
    text: str
    others: tuple[str, ...] = ()


_CONDITION = Family("fairlead_operator_model_condition", "1 true, 0 false, -1 unknown", ("type",))
_REVISIONS = Family("fairlead_operator_model_revisions", "Revisions that the status names")
_ROLLOUT = Family("fairlead_operator_model_rollout", "1 for the rollout's phase", ("phase",))
_QUARANTINED = Family("fairlead_operator_model_quarantined", "Revisions in quarantine: they are not tried again")
_WANTED = Family("fairlead_operator_model_wanted_replicas", "Replicas that a revision should have", ("role",))
_READY = Family("fairlead_operator_model_ready_replicas", "Ready replicas of a revision", ("role",))
_WAITS = Family("fairlead_operator_model_scaling_waits", "1 while a replica waits for room on the Ray cluster")
FAMILIES = (_CONDITION, _REVISIONS, _ROLLOUT, _QUARANTINED, _WANTED, _READY, _WAITS)


class ModelMetrics:
    """Gauges with the labels ``namespace`` and ``model``; a model that is forgotten has none."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], tuple[str, ...]] = {}

    def show(self, namespace: str, model: str, status: Mapping[str, Any]) -> None:
        """Replace the model's series with those of this status."""
        labels = {"namespace": namespace, "model": model}
        conditions = "".join(
            _sample(_CONDITION, {**labels, "type": each["type"]}, _VALUES.get(each["status"], -1.0))
            for each in status.get("conditions") or ()
        )
        revisions = _sample(_REVISIONS, labels, float(len(status.get("revisions") or ())))
        phase = (status.get("rollout") or {}).get("phase")
        rollout = _sample(_ROLLOUT, {**labels, "phase": phase}, 1.0) if phase is not None else ""
        quarantined = _sample(_QUARANTINED, labels, float(len(status.get("quarantine") or ())))
        replicas = (_replicas(family, labels, field, status) for family, field in _REPLICAS)
        waits = _waits(labels, status.get("scaling"))
        self._series[namespace, model] = (conditions, revisions, rollout, quarantined, *replicas, waits)

    def forget(self, namespace: str, model: str) -> None:
        self._series.pop((namespace, model), None)

    def exposition(self) -> bytes:
        """All series of all models; those of one metric are together, as the format requires."""
        parts = []
        all_series = tuple(self._series.values())  # at once: a page may be rendered on another thread
        for position, family in enumerate(FAMILIES):
            parts.append(f"# HELP {family.name} {family.text}\n# TYPE {family.name} gauge\n")
            parts += [series[position] for series in all_series]
        return "".join(parts).encode()


_REPLICAS = ((_WANTED, "wantedReplicas"), (_READY, "readyReplicas"))


def _replicas(family: Family, labels: Mapping[str, str], field: str, status: Mapping[str, Any]) -> str:
    """The sum of a field over the revisions of each role; those that are only kept have no replicas."""
    counts: dict[str, int] = {}
    for row in status.get("revisions") or ():
        if row.get("role") not in (None, RevisionRole.RETIRED):
            counts[row["role"]] = counts.get(row["role"], 0) + row.get(field, 0)
    return "".join(_sample(family, {**labels, "role": role}, float(count)) for role, count in counts.items())


def _waits(labels: Mapping[str, str], scaling: Mapping[str, Any] | None) -> str:
    return _sample(_WAITS, labels, float("waitingSince" in scaling)) if scaling is not None else ""


def _sample(family: Family, labels: Mapping[str, str], value: float) -> str:
    """One line; labels are sorted by name, as prometheus_client writes those of all other series."""
    pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in sorted(labels.items()))
    return f"{family.name}{{{pairs}}} {value}\n"
