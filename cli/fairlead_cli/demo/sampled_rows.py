"""The drift of a model's requests, computed from the series of its replicas as the chart's rules compute it.

Prometheus and these rules are what raises the alert. Without them the series are all that a person can see.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fairlead_cli.demo import columns
from fairlead_cli.evaluation import drift_distance

SAMPLED, REFERENCE = "fairlead_replica_sampled_rows_total", "fairlead_replica_reference_rows"
_INPUT = "input"
Series = tuple[str, Mapping[str, str], float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """The sampled rows and the reference rows of one feature, by bin."""

    name: str
    sampled: npt.NDArray[np.float64]
    reference: npt.NDArray[np.float64]

    @property
    def is_of_inputs(self) -> bool:
        return self.name.startswith(_INPUT)

    @property
    def rows(self) -> int:
        return int(self.sampled.sum())

    @property
    def distance(self) -> float:
        """The part of the rows that lies in other bins than the reference."""
        return float(drift_distance.distance(self.sampled[None], self.reference)[0])

    @property
    def proved(self) -> float:
        """The distance less what chance can bring it to; an alert is above 0.1."""
        return float(drift_distance.proved(self.sampled[None], self.reference)[0])


def collect(series: Iterable[Series], *, model: str, revision: str) -> list[Feature]:
    """The features of one revision, all its replicas together, by name."""
    sampled: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    reference: dict[str, dict[str, float]] = defaultdict(dict)
    for name, labels, value in series:
        if name not in (SAMPLED, REFERENCE) or (labels["model"], labels["revision"]) != (model, revision):
            continue
        if name == SAMPLED:
            sampled[labels["feature"]][labels["bin"]] += value
        else:
            reference[labels["feature"]][labels["bin"]] = value
    return [
        Feature(
            name=name,
            sampled=np.array([sampled[name][each] for each in sorted(bins)]),
            reference=np.array([bins[each] for each in sorted(bins)]),
        )
        for name, bins in sorted(reference.items())
    ]


def find_worst(features: Sequence[Feature]) -> Feature:
    """The feature of the inputs with the largest proved distance.

    Raises:
        ValueError: there is none.
    """
    return max((each for each in features if each.is_of_inputs), key=lambda each: each.proved)


def is_drift(feature: Feature) -> bool:
    """Whether the alert's bound is exceeded."""
    return feature.proved > drift_distance.MARGIN


def describe(features: Sequence[Feature]) -> str:
    """A table with a line for each feature."""
    rows = [
        (
            each.name,
            f"{each.rows:,}",
            f"{each.distance:.3f}",
            f"{each.distance - each.proved:.3f}" if each.rows else "-",
            f"{each.proved:+.3f}" if each.rows else "-",
            "drift" if is_drift(each) else "",
        )
        for each in features
    ]
    return columns.align(("feature", "sampled rows", "distance", "chance", "proved", ""), rows)
