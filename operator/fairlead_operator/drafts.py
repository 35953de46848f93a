"""The status that passes over a model decided on, and when it is written.

Most steps of a rollout follow each other within milliseconds, and each of them changes the status. What has to be
known after a crash is written before the outside write that depends on it, and what somebody waits for is written at
once. What only says how far the model is, is kept as a draft for a moment, so that many steps are one write. A crash
loses the draft, and the next process takes the same steps again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fairlead_operator import telemetry
from fairlead_operator.api import skew
from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.clients.clock import Clock
from fairlead_operator.effects import events
from fairlead_operator.effects import status as effect
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.state import actions, keys, merge_patch, observed, reasons

_AWAITED_FIELDS = ("observedGeneration", "stableRevision", "request", "handledRequest", "quarantine", "rollback")
_AWAITED_CONDITIONS = frozenset({"Ready", "Degraded", "Stalled"})
"""What people and programs wait for; that a model is available no more is said at once, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """``stored`` is the object as the API server has it; ``update`` makes it what was decided since ``began_s``.

    ``view`` is the object as the next pass plans with it.
    """

    stored: observed.ModelDeploymentView
    view: observed.ModelDeploymentView
    update: actions.StatusUpdate
    began_s: float

    @property
    def is_awaited(self) -> bool:
        """Whether somebody may wait for what it says: a condition, an answer to a request, a generation."""
        old, new = self.stored.wire_status, self.update.status
        return any(old.get(name) != new.get(name) for name in _AWAITED_FIELDS) or _awaited(old) - _awaited(new) != set()


def follow(
    before: Draft | None, stored: observed.ModelDeploymentView, update: actions.StatusUpdate, *, now_s: float
) -> Draft | None:
    """The draft after one more pass; None where the status is as it is stored."""
    if before is None:
        if update.patch is None:
            return None
        return Draft(stored=stored, view=stored.with_status(update.status), update=update, began_s=now_s)
    if update.patch is None:
        return before
    patch = merge_patch.between(stored.wire_status, update.status)
    if patch is None:
        return None
    update = replace(update, patch=patch, events=(*before.update.events, *update.events))
    return replace(before, view=stored.with_status(update.status), update=update)


def is_to_be_written(
    draft: Draft,
    plan: actions.Plan,
    outcome: actions.Outcome,
    *,
    goes_on: bool,
    is_due: bool,
    differs: Callable[[], bool],
) -> bool:
    """Whether a pass ends with a write of the draft.

    ``goes_on``: the next pass follows at once. ``is_due``: it was kept for long enough. ``differs``: something else
    would run on Ray. What runs there is composed from what is stored, so that a successor composes the same.
    """
    if isinstance(outcome, actions.Refused):
        return outcome.reason is not reasons.Reason.CONFLICT
    if plan.reason is reasons.Reason.STATUS_UNREADABLE:
        return True
    return not goes_on and (draft.is_awaited or is_due or differs())


def _awaited(status: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Conditions whose change is awaited, by type and status."""
    found = {(condition["type"], condition["status"]) for condition in status.get("conditions") or ()}
    return {each for each in found if each[0] in _AWAITED_CONDITIONS or each == ("Available", "True")}


class StatusWriter:
    """Writes drafts, sends their events, and knows which fields the API server drops."""

    def __init__(
        self, api: kubernetes.KubernetesClient, sender: events.EventWriter, *, clock: Clock, metrics: telemetry.Metrics
    ) -> None:
        self._api = api
        self._events = sender
        self._clock = clock
        self._metrics = metrics
        self._dropped: dict[keys.ModelKey, tuple[str, ...]] = {}

    def dropped_fields(self, key: keys.ModelKey) -> tuple[str, ...]:
        """The fields that the API server dropped from the last write, as its CRD lacks them."""
        return self._dropped.get(key, ())

    def forget(self, key: keys.ModelKey) -> None:
        self._dropped.pop(key, None)

    async def write(self, draft: Draft) -> observed.ModelDeploymentView:
        """The object as it is stored then.

        Raises:
            errors.Conflict: It was changed since it was read.
            errors.RetryLater: The API server dropped a field; the next pass says so in a condition.
        """
        update, stored = draft.update, draft.stored
        written = await effect.write_status(self._api, update, resource_version=stored.resource_version)
        if written is None:
            return stored
        self._events.send(stored, *update.events, at=update.written_at)
        self._metrics.rollouts.count(stored.wire_status, update.status, update.events)
        self._require_kept(draft, written)
        return objects.view_model(written, known=(draft.view, update.status))

    def report(self, model: observed.ModelDeploymentView, event: actions.Event) -> None:
        """Send an event that no status goes with."""
        self._events.send(model, event, at=self._clock.now())

    def _require_kept(self, draft: Draft, written: Mapping[str, Any]) -> None:
        """A field that the API server dropped would be written again in each pass, and a step announced for ever."""
        key, stored = draft.update.key, draft.stored
        dropped = skew.dropped(draft.update.patch or {}, written.get("status") or {})
        is_news = key not in self._dropped
        if not dropped:
            self._dropped.pop(key, None)
            return
        self._dropped[key] = dropped
        self._metrics.dropped_fields.inc()
        message = f"The API server dropped status.{dropped[0]}: the CRD is older than the operator. Update the CRD."
        if is_news:
            event = actions.Event(type=reasons.EventType.WARNING, reason=reasons.Reason.CRD_OUTDATED, message=message)
            self.report(stored, event)
        raise errors.RetryLater(message)
