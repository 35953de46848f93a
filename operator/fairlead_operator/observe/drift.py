"""Reads the drift of models that ask for it from the Prometheus of their namespace, once a minute for all together.

The alerts of the chart decide: their bounds, and how long they wait and last, hold for the condition as well. What was
found once stays as it was found while it lasts, so that a figure that moves writes no status.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from fairlead_operator.clients import errors, prometheus
from fairlead_operator.state import drift, keys, knowledge

INTERVAL_S = 60.0
FAILURES_MAX = 5
"""So many reads in a row have to fail until nothing is known any more."""
CALM_READS = 15
"""So many reads in a row have to find less until less is known: a Prometheus that starts again has no alert that fires
for ten minutes, and no comparison before its first evaluation.
"""
FEATURES_MAX = 8
"""Of a revision so many features are read, those with the highest shares first."""

Reading = knowledge.Known[Mapping[str, drift.ByRevision]] | knowledge.Unknown
"""By model."""


class SeriesReads(Protocol):
    async def fetch_series(self, url: str, query: str, *, namespace: str) -> Sequence[prometheus.Series]: ...


class DriftReader:
    """``prometheus`` has a URL for each namespace; ``on_change`` is called with each model whose drift changed."""

    def __init__(
        self, reads: SeriesReads, *, prometheus: Mapping[str, str], on_change: Callable[[keys.ModelKey], None]
    ) -> None:
        self._reads = reads
        self._prometheus = prometheus
        self._on_change = on_change
        self._asked: set[keys.ModelKey] = set()
        self._readings: dict[str, Reading] = {}
        self._failures: dict[str, int] = defaultdict(int)
        self._calm: dict[tuple[str, str, str], int] = {}
        """By namespace, model and revision how many reads in a row have found less than is known."""

    def find(self, key: keys.ModelKey) -> knowledge.Known[drift.ByRevision] | knowledge.Unknown | None:
        """What is known of a model, which is read from now on; None before the first answer."""
        self._asked.add(key)
        if key.namespace not in self._prometheus:
            return knowledge.Unknown(f"the operator was given no Prometheus for namespace {key.namespace}")
        return _part(self._readings.get(key.namespace), key)

    def forget(self, key: keys.ModelKey) -> None:
        """The model is not read any more."""
        self._asked.discard(key)

    async def read(self) -> None:
        """Ask each Prometheus once."""
        asked = {key.namespace for key in self._asked}
        self._readings = {namespace: each for namespace, each in self._readings.items() if namespace in asked}
        for namespace in sorted(asked & self._prometheus.keys()):
            await self._read_namespace(namespace)

    async def _read_namespace(self, namespace: str) -> None:
        before, url = self._readings.get(namespace), self._prometheus[namespace]
        now: Reading
        try:
            compared, firing = await asyncio.gather(
                *(
                    self._reads.fetch_series(url, query, namespace=namespace)
                    for query in (compared_query(namespace), firing_query(namespace))
                )
            )
        except errors.FairleadError as error:
            self._failures[namespace] += 1
            if self._failures[namespace] < FAILURES_MAX or isinstance(before, knowledge.Unknown):
                return
            now = knowledge.Unknown(error.cause)
        else:
            self._failures[namespace] = 0
            now = knowledge.Known(self._hold(namespace, before, _merged(before, compared, firing)))
        self._readings[namespace] = now
        for key in sorted(self._asked, key=str):
            if key.namespace == namespace and _part(before, key) != _part(now, key):
                self._on_change(key)

    def _hold(
        self, namespace: str, before: Reading | None, now: dict[str, dict[str, drift.Drifting | None]]
    ) -> Mapping[str, drift.ByRevision]:
        """What was read, with what is known and was found no more only a short time ago."""
        known = before.value if isinstance(before, knowledge.Known) else {}
        calm: dict[tuple[str, str, str], int] = {}
        for model, revisions in known.items():
            for revision, drifting in revisions.items():
                is_lost = revision not in now.get(model, {})
                is_over = drifting is not None and not is_lost and now[model][revision] is None
                reads = self._calm.get((namespace, model, revision), 0) + 1
                if (is_lost or is_over) and reads < CALM_READS:
                    now.setdefault(model, {})[revision] = drifting
                    calm[namespace, model, revision] = reads
        others = {key: reads for key, reads in self._calm.items() if key[0] != namespace}
        self._calm = others | calm
        return now


def compared_query(namespace: str) -> str:
    """Revisions with sampled rows in the last hour or day: where there are none, the comparison gives NaN."""
    return f'count by (model, revision) (fairlead:drift:proved{{namespace="{namespace}"}} > -Inf)'


def firing_query(namespace: str) -> str:
    """The features for which an alert fires, with the shares that are proved."""
    names = "FairleadInputDrift|FairleadScoreDrift|FairleadAttributionDrift"
    alerts = f'ALERTS{{alertname=~"{names}",alertstate="firing",namespace="{namespace}"}}'
    proved = f'fairlead:drift:proved{{namespace="{namespace}"}}'
    both = f"{proved} and on (namespace, model, revision, feature, window) {alerts}"
    return f"topk by (model, revision) ({FEATURES_MAX}, {both})"


def _part(reading: Reading | None, key: keys.ModelKey) -> knowledge.Known[drift.ByRevision] | knowledge.Unknown | None:
    return knowledge.Known(reading.value.get(key.name, {})) if isinstance(reading, knowledge.Known) else reading


def _merged(
    before: Reading | None, compared: Sequence[prometheus.Series], firing: Sequence[prometheus.Series]
) -> dict[str, dict[str, drift.Drifting | None]]:
    known = before.value if isinstance(before, knowledge.Known) else {}
    found: dict[str, dict[str, list[drift.Drifting]]] = defaultdict(lambda: defaultdict(list))
    for each in compared:
        found[each.labels.get("model", "")][each.labels.get("revision", "")]
    for each in firing:
        made = drift.Drifting(
            feature=each.labels.get("feature", ""),
            window=each.labels.get("window", ""),
            proved=each.value if math.isfinite(each.value) else 0.0,
        )
        found[each.labels.get("model", "")][each.labels.get("revision", "")].append(made)
    return {
        model: {revision: _worst(all_, known.get(model, {}).get(revision)) for revision, all_ in revisions.items()}
        for model, revisions in found.items()
    }


def _worst(found: Sequence[drift.Drifting], before: drift.Drifting | None) -> drift.Drifting | None:
    """What was the worst before stays it while its alert fires."""
    if before is not None and any((each.feature, each.window) == (before.feature, before.window) for each in found):
        return before
    return max(found, key=lambda each: (each.proved, each.feature, each.window), default=None)
