"""The series of each model, kept as text: rendered when a status changes, joined when they are asked for.

prometheus_client keeps an object for each series and renders every one of them at each scrape. With 10,000 models, so
80,000 series, that took 2.3 s of processor time a scrape. The format is the text format 0.0.4 of Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_VALUES = {"True": 1.0, "False": 0.0}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class _Family(NamedTuple):
    name: str
    text: str


_CONDITION = _Family("fairlead_operator_model_condition", "1 true, 0 false, -1 unknown")
_REVISIONS = _Family("fairlead_operator_model_revisions", "Revisions that the status names")
_ROLLOUT = _Family("fairlead_operator_model_rollout", "1 for the rollout's phase")
_DESIRED = _Family("fairlead_operator_model_desired_replicas", "Replicas that the stable revision should have")
_RUNNING = _Family("fairlead_operator_model_running_replicas", "Replicas of the stable revision that run")
_WAITING = _Family("fairlead_operator_model_scaling_waits", "1 while a replica waits for room on the Ray cluster")
_FAMILIES = (_CONDITION, _REVISIONS, _ROLLOUT, _DESIRED, _RUNNING, _WAITING)


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
        self._series[namespace, model] = (conditions, revisions, rollout, *_scaling(labels, status.get("scaling")))

    def forget(self, namespace: str, model: str) -> None:
        self._series.pop((namespace, model), None)

    def exposition(self) -> bytes:
        """All series of all models; those of one metric are together, as the format requires."""
        parts = []
        all_series = tuple(self._series.values())  # at once: a page may be rendered on another thread
        for position, family in enumerate(_FAMILIES):
            parts.append(f"# HELP {family.name} {family.text}\n# TYPE {family.name} gauge\n")
            parts += [series[position] for series in all_series]
        return "".join(parts).encode()


def _scaling(labels: Mapping[str, str], scaling: Mapping[str, Any] | None) -> tuple[str, ...]:
    if scaling is None:
        return "", "", ""
    values = (scaling["desiredReplicas"], scaling["replicas"], scaling.get("waitingSince") is not None)
    families = (_DESIRED, _RUNNING, _WAITING)
    return tuple(_sample(family, labels, float(value)) for family, value in zip(families, values, strict=True))


def _sample(family: _Family, labels: Mapping[str, str], value: float) -> str:
    """One line; labels are sorted by name, as prometheus_client writes those of all other series."""
    pairs = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in sorted(labels.items()))
    return f"{family.name}{{{pairs}}} {value}\n"
