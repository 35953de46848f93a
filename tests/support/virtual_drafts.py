"""What the virtual operator keeps in memory: statuses that were decided and not written yet, as ``reconcile`` does.

A crash takes all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.virtual_faults import Fault
from tests.support.virtual_objects import Clock
from tests.support.virtual_ray import RayCluster
from tests.support.virtual_traffic import Traffic

from fairlead_operator import drafts, reconcile
from fairlead_operator.desired import serve_config
from fairlead_operator.state import actions
from fairlead_operator.state.keys import ModelKey, RayKey
from fairlead_operator.state.observed import ModelDeploymentView
from fairlead_operator.state.serve import RayWrite, ServeConfig


@dataclass
class Process:
    """What the operator knows from memory alone, of all namespaces: a crash takes it."""

    ray_write: dict[RayKey, RayWrite] = field(default_factory=dict)
    """How the last pass over each Ray cluster ended."""
    dropped: dict[ModelKey, tuple[str, ...]] = field(default_factory=dict)
    """The fields that the API server dropped from the last status write of a model."""
    clusters: list[RayCluster] = field(default_factory=list)
    """Those that it reads."""
    has_drafts: bool = False
    """Whether it keeps statuses in memory for a moment; else it writes one in each pass."""
    drafts: dict[ModelKey, drafts.Draft] = field(default_factory=dict)

    def crash(self) -> None:
        self.drafts.clear()
        self.ray_write.clear()
        self.dropped.clear()
        for cluster in self.clusters:
            cluster.forget()


class Drafting(Traffic):
    """Drafts of the models of one namespace."""

    def __init__(
        self, namespace: str, clusters: Sequence[str], *, gateways: int, clock: Clock, process: Process
    ) -> None:
        super().__init__(namespace, clusters, gateways=gateways, clock=clock)
        self.process = process
        self.events: list[actions.Event] = []

    def _take_draft(self, name: str) -> drafts.Draft | None:
        """The model's draft, unless the object has another version by now."""
        draft = self.process.drafts.pop(ModelKey(self.namespace, name), None)
        is_there = draft is not None and name in self.models and self.view(name).uid == draft.stored.uid
        is_current = is_there and self.view(name).resource_version == draft.stored.resource_version  # type: ignore[union-attr]
        return draft if is_current else None

    def _announce(self, name: str, draft: drafts.Draft, fault: Fault) -> bool:
        """Writes the draft before a write that a successor has to know of; false where that one may not follow."""
        return fault is not Fault.STATUS_CONFLICT and self._write_draft(name, draft, fault)

    def _write_draft(self, name: str, draft: drafts.Draft, fault: Fault) -> bool:
        """Whether the whole status was kept, and the operator knows it."""
        dropped = self._store_status(name, draft.stored.uid, draft.update)
        if dropped is None or fault is Fault.STATUS_ANSWER_LOST:
            return False
        self.events.extend(draft.update.events)
        self.process.dropped[draft.update.key] = dropped
        return not dropped

    def _follow(
        self,
        name: str,
        before: drafts.Draft | None,
        view: ModelDeploymentView,
        update: actions.StatusUpdate,
        plan: actions.Plan,
        outcome: actions.Outcome,
        fault: Fault,
    ) -> None:
        """The end of a pass: the draft is written, or kept for the next one."""
        if (stored := self.models.get(name)) is None or stored.uid != view.uid:
            return
        is_of_finalizers = isinstance(plan.action, actions.AddFinalizer | actions.RemoveFinalizer)
        if self.process.has_drafts and is_of_finalizers and isinstance(outcome, actions.Done):
            return
        draft = drafts.follow(before, self.view(name), update, now_s=self.now.timestamp())
        if draft is None:
            return
        if not self.process.has_drafts or drafts.is_to_be_written(
            draft,
            plan,
            outcome,
            goes_on=reconcile.goes_on(plan),
            is_due=draft.began_s < self.now.timestamp(),
            differs=lambda: self._parts_of(name, draft.view) != self._parts_of(name, self.view(name)),
        ):
            self._write_draft(name, draft, fault)
        elif not isinstance(outcome, actions.Refused):
            self.process.drafts[plan.key] = draft

    def _parts_of(self, name: str, view: ModelDeploymentView) -> list[ServeConfig]:
        kept = serve_config.KeptModel(view=view, revisions=tuple(self.models[name].revisions.values()))
        return [serve_config.of_model(RayKey(self.namespace, cluster), kept) for cluster in self.clusters]
