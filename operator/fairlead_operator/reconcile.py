"""One pass over one key: quorum GET → observe → plan → at most one outside write → status if it changed → events.

The only module that knows every step; each trigger ends here with nothing but a key.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

from fairlead_operator import composition, queue, ray_pass, sweep, telemetry, waiting
from fairlead_operator.api import skew
from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock
from fairlead_operator.desired import build, serve_config
from fairlead_operator.effects import events, execute, status
from fairlead_operator.observe import cluster, snapshot
from fairlead_operator.observe import kubernetes as objects
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, bounds, keys, knowledge, observed, reasons
from fairlead_operator.state import desired as desired_state
from fairlead_operator.status import summary

AFTER_WRITE_S = 0.02
"""What was written shows at the next look: the world is never read as it was before our own write."""
AFTER_CONFLICT_S = 0.2
FRESH_S = 1.0
"""So long the answer to our own write of an object stands for a quorum read of it."""
STEPS_MAX = 8
"""So many passes over a model follow each other before another key has its turn."""
REST_MAX_S = 5.0
REST_GROWTH = 2.0
"""A model that waits for something on its way is looked at again from memory, more and more seldom."""

log = logging.getLogger(__name__)

Wish = desired_state.Desired | observed.InvalidSpec | knowledge.Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a pass uses, made in ``process``."""

    observer: snapshot.Observer
    namespaces: Callable[[str], cluster.NamespaceView]
    waits: waiting.Waiting
    composed: composition.Composition
    hands: execute.Hands
    events: events.EventWriter
    bounds: bounds.Bounds
    clock: Clock
    metrics: telemetry.Metrics


class Reconciler:
    def __init__(
        self,
        parts: Parts,
        work: queue.KeyedQueue[keys.Key],
        *,
        swept: sweep.Sweep,
        ray: ray_pass.RayPass,
    ) -> None:
        self._parts = parts
        self._ray_pass = ray
        self._queue = work
        self._sweep = swept
        self._dropped: dict[keys.ModelKey, tuple[str, ...]] = {}

    async def handle(self, key: keys.Key) -> float | None:
        """One pass; says in how many seconds the key is due again, None where the sweep or a backoff has it.

        This is an outermost loop's body: whatever one key raises costs that key a backoff, and the others nothing.
        """
        started_s = self._parts.clock.monotonic_s()
        kind, ended = type(key).__name__, "done"
        try:
            delay_s = await self._pass(key)
            self._queue.succeeded(key)
            return delay_s
        except errors.Conflict as error:
            ended = "conflict"
            delay_s = self._queue.add_failed(key, first_s=AFTER_CONFLICT_S)
            about = {"key": str(key), "error": str(error), "retry_s": round(delay_s, 1)}
            log.info("the object changed since it was read", extra=about)
            return None
        except errors.FairleadError as error:
            ended = "failed"
            delay_s = self._queue.add_failed(key, least_s=error.retry_after_s or 0.0)
            level = logging.DEBUG if isinstance(error, errors.RetryLater) else logging.WARNING
            log.log(level, "pass failed", extra={"key": str(key), "error": str(error), "retry_s": round(delay_s, 1)})
            return None
        except Exception:
            ended = "error"
            delay_s = self._queue.add_failed(key)
            log.exception("pass failed unexpectedly", extra={"key": str(key), "retry_s": round(delay_s, 1)})
            return None
        finally:
            self._parts.metrics.reconciles.labels(kind, ended).inc()
            self._parts.metrics.reconcile_s.labels(kind).observe(self._parts.clock.monotonic_s() - started_s)

    async def _pass(self, key: keys.Key) -> float | None:
        match key:
            case keys.ModelKey():
                return await self._model(key)
            case keys.RayKey():
                return await self._ray_pass.run(key)
        assert_never(key)

    async def _model(self, key: keys.ModelKey) -> float | None:
        """Passes over a model, one after the other while each has written something.

        Where one fails and nothing was known before, whatever runs for the model goes on.
        """
        try:
            for _ in range(STEPS_MAX):
                delay_s = await self._pass_over(key)
                if delay_s is None or delay_s > AFTER_WRITE_S:
                    break
            return delay_s
        except Exception:
            self._parts.composed.note_unknown(key)
            raise

    async def _pass_over(self, key: keys.ModelKey) -> float | None:
        """It asks the API server only where something may have to be done."""
        if self._parts.namespaces(key.namespace).is_pending():
            self._parts.waits.park(key)
            return None
        held = self._last_read(key)
        if held is not None and held.view is not None and self._parts.observer.can_rest(held.view):
            rest = self._try_to_rest(key, held, held.view)
            if rest is not None:
                return rest.delay_s or None
        view = self._fresh(held)
        if view is None:
            read_at_s = self._parts.clock.monotonic_s()
            self._sweep.begin_read(key)
            view = await self._parts.observer.fetch(key)
            if view is None:
                self._sweep.note_gone(key)
        else:
            read_at_s = held.read_at_s if held is not None else 0.0
        look = await self._parts.observer.complete(self._look(key, view))
        if view is None:
            return await self._after_the_object(look.seen)
        return await self._report_unexpected(view, look, read_at_s)

    def _last_read(self, key: keys.ModelKey) -> waiting.Held | None:
        """What the last pass ended with, or what a full listing brought before any pass; no object that is outdated."""
        held, body = self._parts.waits.take(key), self._sweep.take_listed(key)
        if held is None and body is not None:
            view = objects.view_model(body)
            return waiting.Held(evidence=b"", version=view.resource_version, view=view, read_at_s=-math.inf)
        if held is not None and held.view is not None and self._sweep.is_outdated(key, held.view.resource_version):
            return replace(held, view=None)
        return held

    def _fresh(self, held: waiting.Held | None) -> observed.ModelDeploymentView | None:
        """The object, where the API server gave it so lately that it need not be asked again."""
        if held is None or held.view is None:
            return None
        return held.view if self._parts.clock.monotonic_s() - held.read_at_s < FRESH_S else None

    def _look(self, key: keys.ModelKey, view: observed.ModelDeploymentView | None) -> snapshot.Look:
        """The world around the object; what should run for it becomes known to its Ray clusters."""
        look = self._parts.observer.look(key, view)
        if dropped := self._dropped.get(key):
            look = replace(look, seen=replace(look.seen, dropped_fields=dropped))
        composed = self._parts.composed
        changed = composed.remove(key) if view is None else composed.put(key, self._compose(look.seen, view))
        for name in changed:
            self._parts.hands.nudge(keys.RayKey(key.namespace, name))
        return look

    def _compose(self, seen: observed.Observed, view: observed.ModelDeploymentView) -> composition.Parts | None:
        if view.status_problem is not None and not view.is_deleting:
            return None
        kept = serve_config.KeptModel(view=view, revisions=seen.revisions)
        clusters = {*(revision.cluster for revision in seen.revisions), *seen.serve}
        try:
            return {name: serve_config.of_model(keys.RayKey(view.namespace, name), kept) for name in clusters}
        except Exception:
            # One model that can't be composed must not hold up the others' replicas: what runs for it goes on.
            self._parts.metrics.actions.labels("ComposeServeConfig", "error").inc()
            log.exception("a model is left as it runs", extra={"key": str(seen.key)})
            return None

    def _try_to_rest(
        self, key: keys.ModelKey, held: waiting.Held, view: observed.ModelDeploymentView
    ) -> waiting.Held | None:
        """The same pass again from memory; None where it would write something, so that it has to be made for real."""
        try:
            return self._rest(self._look(key, view), held, view)
        except errors.FairleadError:
            raise
        except Exception:
            log.debug("a pass from memory failed; it is made for real", extra={"key": str(key)}, exc_info=True)
            return None

    def _rest(self, look: snapshot.Look, held: waiting.Held, view: observed.ModelDeploymentView) -> waiting.Held | None:
        seen = look.seen
        desired = build.build(view, seen.revisions, self._parts.bounds, cluster=seen.placement)
        plan = planner.make(desired, seen, self._parts.bounds, seen.observed_at)
        if not isinstance(plan.action, actions.Wait | actions.NudgeServe):
            return None
        done = actions.Done()
        update = summary.summarise(desired, view, seen, plan=plan, outcome=done, now=seen.observed_at)
        if update.patch is not None:
            return None
        self._parts.metrics.tell_model(plan.key.namespace, plan.key.name, update.status)
        if isinstance(plan.action, actions.NudgeServe):
            self._parts.hands.nudge(keys.RayKey(plan.key.namespace, plan.action.cluster))
        before = held if math.isfinite(held.read_at_s) else None
        return self._hold(plan, look, view, before=before, read_at_s=held.read_at_s)

    def _hold(
        self,
        plan: actions.Plan,
        look: snapshot.Look,
        view: observed.ModelDeploymentView,
        *,
        before: waiting.Held | None,
        read_at_s: float,
    ) -> waiting.Held:
        """The model waits for its evidence, and for the plan's date where it has one.

        What is on its way is looked at again after a growing time, from memory: deadlines are in the plan, not here.
        """
        delay_s = plan.requeue_after_s
        is_idle = delay_s >= self._parts.bounds.resync_s
        if delay_s <= self._parts.bounds.poll_s:
            delay_s = min(REST_MAX_S, max(delay_s, before.delay_s * REST_GROWTH if before is not None else delay_s))
        if not is_idle and before is None:
            self._parts.waits.hurry(plan.key.namespace)
        held = waiting.Held(
            evidence=look.evidence if is_idle else look.hot_evidence,
            version=view.resource_version,
            view=None if is_idle else view,
            read_at_s=read_at_s,
            delay_s=0.0 if is_idle else delay_s,
            is_hot=not is_idle,
            is_judged=plan.serving.rules.is_measured,
        )
        self._parts.waits.hold(plan.key, held)
        return held

    async def _report_unexpected(
        self, model: observed.ModelDeploymentView, look: snapshot.Look, read_at_s: float
    ) -> float | None:
        """A pass over an object that is there; an unexpected error becomes an event on the object."""
        try:
            return await self._living(model, look, read_at_s)
        except errors.FairleadError:
            raise
        except Exception as error:
            message = (
                f"The operator can't work on this object: {type(error).__name__}. The operator's log has the details."
            )
            event = actions.Event(type=reasons.EventType.WARNING, reason=reasons.Reason.INTERNAL_ERROR, message=message)
            await self._parts.events.send(model, event, at=self._parts.clock.now())
            raise

    async def _living(self, model: observed.ModelDeploymentView, look: snapshot.Look, read_at_s: float) -> float | None:
        seen = look.seen
        desired = build.build(model, seen.revisions, self._parts.bounds, cluster=seen.placement)
        plan, outcome = await self._act(desired, seen)
        if isinstance(plan.action, actions.AddFinalizer | actions.RemoveFinalizer) and isinstance(
            outcome, actions.Done
        ):
            return AFTER_WRITE_S  # the object has another version now: the next pass reports it
        now = self._parts.clock.now()
        update = summary.summarise(desired, model, seen, plan=plan, outcome=outcome, now=now)
        self._parts.metrics.tell_model(plan.key.namespace, plan.key.name, update.status)
        written = await status.write_status(self._parts.hands.api, update, resource_version=model.resource_version)
        if update.patch is not None and written is not None:
            await self._parts.events.send(model, *update.events, at=update.written_at)
            await self._require_kept(model, written, update.patch, is_news=not seen.dropped_fields)
        return self._next(plan, outcome, look, model=model, written=written, read_at_s=read_at_s)

    async def _act(self, desired: Wish, seen: observed.Observed) -> tuple[actions.Plan, actions.Outcome]:
        """Decide and carry out."""
        plan = planner.make(desired, seen, self._parts.bounds, seen.observed_at)
        outcome = await execute.execute(plan, self._parts.hands)
        if isinstance(plan.action, actions.AddFinalizer | actions.CreateRevision):
            # A first model is the reason to start Serve, and while Serve is not there nothing else would ask for it.
            self._parts.hands.nudge(keys.RayKey(plan.key.namespace, seen.placement))
        self._log_outcome(plan, outcome)
        return plan, outcome

    async def _after_the_object(self, seen: observed.Observed) -> float | None:
        plan, outcome = await self._act(knowledge.ABSENT, seen)
        if isinstance(outcome, actions.Refused):
            raise _error_of(plan, outcome)
        if _writes(plan.action):
            return AFTER_WRITE_S
        if plan.requeue_after_s < self._parts.bounds.resync_s:
            return plan.requeue_after_s
        self._parts.metrics.forget_model(plan.key.namespace, plan.key.name)
        self._sweep.forget(seen.key)
        self._dropped.pop(seen.key, None)
        self._parts.waits.take(seen.key)
        return None

    def _next(
        self,
        plan: actions.Plan,
        outcome: actions.Outcome,
        look: snapshot.Look,
        *,
        model: observed.ModelDeploymentView,
        written: Mapping[str, Any] | None,
        read_at_s: float,
    ) -> float | None:
        if isinstance(outcome, actions.Refused):
            raise _error_of(plan, outcome)
        if written is not None:
            # The answer to the write is the object as the quorum has it: the next pass need not ask for it again.
            view = objects.view_model(written)
            after = waiting.Held(
                evidence=look.hot_evidence,
                version=view.resource_version,
                view=view,
                read_at_s=self._parts.clock.monotonic_s(),
                is_hot=True,
            )
            self._parts.waits.hold(plan.key, after)
        if written is not None or _writes(plan.action):
            return min(plan.requeue_after_s, AFTER_WRITE_S)
        return self._hold(plan, look, model, before=None, read_at_s=read_at_s).delay_s or None

    async def _require_kept(
        self,
        model: observed.ModelDeploymentView,
        written: Mapping[str, Any],
        patch: Mapping[str, Any],
        *,
        is_news: bool,
    ) -> None:
        """A field that the API server dropped would be written again in each pass, and a step announced for ever.

        Raises:
            errors.RetryLater: It did; the next pass says so in a condition.
        """
        key = keys.ModelKey(model.namespace, model.name)
        dropped = skew.dropped(patch, written.get("status") or {})
        if not dropped:
            self._dropped.pop(key, None)
            return
        self._dropped[key] = dropped
        self._parts.metrics.dropped_fields.inc()
        message = f"The API server dropped status.{dropped[0]}: the CRD is older than the operator. Update the CRD."
        if is_news:
            event = actions.Event(type=reasons.EventType.WARNING, reason=reasons.Reason.CRD_OUTDATED, message=message)
            await self._parts.events.send(model, event, at=self._parts.clock.now())
        raise errors.RetryLater(message)

    def _log_outcome(self, plan: actions.Plan, outcome: actions.Outcome) -> None:
        action, ended = type(plan.action).__name__, type(outcome).__name__
        if isinstance(plan.action, actions.Wait):
            log.debug(str(plan), extra={"key": str(plan.key)})
            return
        self._parts.metrics.actions.labels(action, ended).inc()
        level = logging.WARNING if isinstance(outcome, _FAILURES) else logging.INFO
        extra = {"key": str(plan.key), "action": action, "outcome": ended}
        words = f": {outcome.message}" if isinstance(outcome, _FAILURES) else ""
        log.log(level, "%s%s", plan, words, extra=extra)


_FAILURES = actions.Refused | actions.NotProved | actions.ProofUnavailable


def _error_of(plan: actions.Plan, refused: actions.Refused) -> errors.FairleadError:
    """What a write that did not happen costs its key: a delay that grows."""
    message = f"{plan.action}: {refused.message}"
    if refused.reason is reasons.Reason.CONFLICT:
        return errors.Conflict(message)
    return errors.RetryLater(message, retry_after_s=refused.retry_after_s)


def _writes(action: actions.Action) -> bool:
    return not isinstance(action, actions.Wait | actions.NudgeServe)
