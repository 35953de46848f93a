"""A model's part of each Ray cluster, composed from what is stored of it, so that a successor composes the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fairlead_operator import composition, telemetry
from fairlead_operator.desired import serve_config
from fairlead_operator.state import keys, observed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composer:
    """Tells the Ray clusters for which a model's part changes."""

    composed: composition.Composition
    nudge: Callable[[keys.RayKey], None]
    metrics: telemetry.Metrics

    def note(self, seen: observed.Observed, stored: observed.ModelDeploymentView) -> None:
        """A pass saw the object as it is stored, with its revisions."""
        self._nudge_all(seen.key, self.composed.put(seen.key, self._compose(seen, stored)))
        self.composed.used.note(seen.key, stored)

    def remove(self, key: keys.ModelKey) -> None:
        """The object is gone."""
        self._nudge_all(key, self.composed.remove(key))
        self.composed.used.remove(key)

    def differs(self, seen: observed.Observed, decided: observed.ModelDeploymentView) -> bool:
        """Whether something else would run, were the object stored as it was decided."""
        return self.composed.differs(seen.key, self._compose(seen, decided))

    def _nudge_all(self, key: keys.ModelKey, clusters: Iterable[str]) -> None:
        for name in clusters:
            self.nudge(keys.RayKey(key.namespace, name))

    def _compose(self, seen: observed.Observed, view: observed.ModelDeploymentView) -> composition.Parts | None:
        if view.status_problem is not None and not view.is_deleting:
            return None
        kept = serve_config.KeptModel(view=view, revisions=seen.revisions, routed=seen.routed)
        clusters = {*(revision.cluster for revision in seen.revisions), *seen.serve}
        try:
            return {name: serve_config.of_model(keys.RayKey(view.namespace, name), kept) for name in clusters}
        except Exception:
            # One model that can't be composed must not hold up the others' replicas: what runs for it goes on.
            self.metrics.actions.labels("ComposeServeConfig", "error").inc()
            log.exception("a model is left as it runs", extra={"key": str(seen.key)})
            return None
