"""The series of each model, kept as text: rendered when a status changes, joined when they are asked for.

prometheus_client keeps an object for each series and renders every one of them at each scrape. With 10,000 models, so
80,000 series, that took 2.3 s of processor time a scrape. Models whose series differ in their names alone share all
text but their names. The format is the text format 0.0.4 of Prometheus.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from fairlead_operator.api.revision_status import RevisionRole

_VALUES = {"True": 1.0, "False": 0.0}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Family(NamedTuple):
    """A gauge with the labels ``model`` and ``namespace``, and ``other`` where it has a third."""

    name: str
    text: str
    other: str | None = None


_CONDITION = Family("fairlead_operator_model_condition", "1 true, 0 false, -1 unknown", "type")
_REVISIONS = Family("fairlead_operator_model_revisions", "Revisions that the status names")
_ROLLOUT = Family("fairlead_operator_model_rollout", "1 for the rollout's phase", "phase")
_QUARANTINED = Family("fairlead_operator_model_quarantined", "Revisions in quarantine: they are not tried again")
_WANTED = Family("fairlead_operator_model_wanted_replicas", "Replicas that a revision should have", "role")
_READY = Family("fairlead_operator_model_ready_replicas", "Ready replicas of a revision", "role")
_WAITS = Family("fairlead_operator_model_scaling_waits", "1 while a replica waits for placement on the Ray cluster")
_AT_ZERO = Family("fairlead_operator_model_at_zero", "1 while a model has no replica because it had no requests")
SHARED_MAX = 4096
"""So many different texts are shared; models with another one have their own."""
FAMILIES = (_CONDITION, _REVISIONS, _ROLLOUT, _QUARANTINED, _WANTED, _READY, _WAITS, _AT_ZERO)


class ModelMetrics:
    """Gauges with the labels ``model`` and ``namespace``; a model that is forgotten has none."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], tuple[str, _Lines]] = {}

    def show(self, namespace: str, model: str, status: Mapping[str, Any]) -> None:
        """Replace the model's series with those of this status."""
        labels = f'model="{model.translate(_ESCAPES)}",namespace="{namespace.translate(_ESCAPES)}"'
        self._series[namespace, model] = (labels, _lines(_samples(status)))

    def forget(self, namespace: str, model: str) -> None:
        self._series.pop((namespace, model), None)

    def exposition(self) -> bytes:
        """All series of all models; those of one metric are together, as the format requires."""
        parts = []
        all_series = tuple(self._series.values())  # at once: a page may be rendered on another thread
        for position, family in enumerate(FAMILIES):
            parts.append(f"# HELP {family.name} {family.text}\n# TYPE {family.name} gauge\n")
            begin = f"{family.name}{{"
            parts += [f"{begin}{labels}{line}" for labels, lines in all_series for line in lines[position]]
        return "".join(parts).encode()


_Sample = tuple[str | None, float]
"""The value of a family's other label, None where it has none, and the gauge's."""
_Samples = tuple[tuple[_Sample, ...], ...]
_Lines = tuple[tuple[str, ...], ...]
"""By family: what follows the name and the labels that say whose they are."""


@functools.lru_cache(maxsize=SHARED_MAX)
def _lines(samples: _Samples) -> _Lines:
    return tuple(
        tuple(_line(family.other, label, value) for label, value in own)
        for family, own in zip(FAMILIES, samples, strict=True)
    )


def _line(other: str | None, label: str | None, value: float) -> str:
    """Labels are sorted by name, as prometheus_client writes those of all other series."""
    third = f',{other}="{label.translate(_ESCAPES)}"' if label is not None else ""
    return f"{third}}} {value}\n"


def _samples(status: Mapping[str, Any]) -> _Samples:
    """Those of each family, in the order of ``FAMILIES``."""
    conditions = tuple((each["type"], _VALUES.get(each["status"], -1.0)) for each in status.get("conditions") or ())
    phase, scaling = (status.get("rollout") or {}).get("phase"), status.get("scaling")
    return (
        conditions,
        ((None, float(len(status.get("revisions") or ()))),),
        ((phase, 1.0),) if phase is not None else (),
        ((None, float(len(status.get("quarantine") or ()))),),
        _replicas("wantedReplicas", status),
        _replicas("readyReplicas", status),
        ((None, float("waitingSince" in scaling)),) if scaling is not None else (),
        ((None, 1.0),) if "atZeroSince" in status else (),
    )


def _replicas(field: str, status: Mapping[str, Any]) -> tuple[_Sample, ...]:
    """The sum of a field over the revisions of each role; those that are only kept have no replicas."""
    counts: dict[str, int] = {}
    for row in status.get("revisions") or ():
        if row.get("role") not in (None, RevisionRole.RETIRED):
            counts[row["role"]] = counts.get(row["role"], 0) + row.get(field, 0)
    return tuple((role, float(count)) for role, count in counts.items())
