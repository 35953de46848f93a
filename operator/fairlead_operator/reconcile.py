"""One pass over one key: quorum GET → observe → plan → at most one outside write → status if it changed → events.

The only module that knows every step; each trigger ends here with nothing but a key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from fairlead_operator import queue, ray_pass, sweep, telemetry
from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock
from fairlead_operator.desired import build
from fairlead_operator.effects import events, execute, status
from fairlead_operator.observe import cluster, fingerprint, snapshot
from fairlead_operator.plan import planner
from fairlead_operator.state import actions, bounds, keys, knowledge, observed, reasons
from fairlead_operator.state import desired as desired_state
from fairlead_operator.status import summary

AFTER_WRITE_S = 0.02
"""What was written shows at the next look: the world is never read as it was before our own write."""
AFTER_CONFLICT_S = 0.2

log = logging.getLogger(__name__)

Wish = desired_state.Desired | observed.InvalidSpec | knowledge.Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a pass uses, made in ``process``."""

    observer: snapshot.Observer
    namespaces: Callable[[str], cluster.NamespaceView]
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
        watch: sweep.Sweep,
        ray: ray_pass.RayPass,
    ) -> None:
        self._parts = parts
        self._ray_pass = ray
        self._queue = work
        self._sweep = watch

    async def handle(self, key: keys.Key) -> float | None:
        """One pass; says in how many seconds the key is due again, None where the sweep or a backoff has it.

        This is an outermost loop's body: whatever one key raises costs that key a backoff, and the others nothing.
        """
        started_s = self._parts.clock.monotonic_s()
        kind, ended = type(key).__name__, "done"
        self._sweep.unsettle(key)
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
        seen = await self._parts.observer.observe(key)
        match seen.object:
            case knowledge.Absent():
                return await self._after_the_object(seen)
            case knowledge.Known(value=model):
                return await self._told(model, seen)
        assert_never(seen.object)

    async def _told(self, model: observed.ModelDeploymentView, seen: observed.Observed) -> float | None:
        """A pass over an object that is there; an error that nobody foresaw is told where its owner looks."""
        try:
            return await self._living(model, seen)
        except errors.FairleadError:
            raise
        except Exception as error:
            message = f"The operator can't work on this object: {type(error).__name__}. Its log has the whole story."
            told = actions.Event(type=reasons.EventType.WARNING, reason=reasons.Reason.INTERNAL_ERROR, message=message)
            await self._parts.events.send(model, told, at=self._parts.clock.now())
            raise

    async def _living(self, model: observed.ModelDeploymentView, seen: observed.Observed) -> float | None:
        wish = build.build(model, seen.revisions, self._parts.bounds, cluster=seen.placement)
        plan, outcome = await self._act(wish, seen)
        if isinstance(plan.action, actions.AddFinalizer | actions.RemoveFinalizer) and isinstance(
            outcome, actions.Done
        ):
            return AFTER_WRITE_S  # the object has another version now: the next pass tells of it
        now = self._parts.clock.now()
        update = summary.summarise(wish, model, seen, plan=plan, outcome=outcome, now=now)
        self._parts.metrics.tell_model(plan.key.namespace, plan.key.name, update.status)
        await status.write_status(self._parts.hands.api, update, resource_version=model.resource_version)
        if update.patch is not None:
            await self._parts.events.send(model, *update.events, at=update.written_at)
        return self._next(plan, outcome, seen, has_changed=update.patch is not None)

    async def _act(self, wish: Wish, seen: observed.Observed) -> tuple[actions.Plan, actions.Outcome]:
        """Decide and carry out. A port range is chosen again under its cluster's lock: a crowd must not collide."""
        plan = planner.make(wish, seen, self._parts.bounds, seen.observed_at)
        if isinstance(plan.action, actions.CreateRevision):
            ledger = self._parts.namespaces(seen.key.namespace).ports
            async with ledger.lock:
                seen = replace(seen, taken_ports=tuple((await ledger.taken(seen.key.name)).values()))
                plan = planner.make(wish, seen, self._parts.bounds, seen.observed_at)
                outcome = await execute.execute(plan, self._parts.hands)
        else:
            outcome = await execute.execute(plan, self._parts.hands)
        if isinstance(plan.action, actions.AddFinalizer | actions.CreateRevision):
            # A first model is the reason to start Serve, and while Serve is not there nothing else would ask for it.
            self._parts.hands.nudge(keys.RayKey(plan.key.namespace, seen.placement))
        self._tell(plan, outcome)
        return plan, outcome

    async def _after_the_object(self, seen: observed.Observed) -> float | None:
        plan, outcome = await self._act(knowledge.ABSENT, seen)
        if isinstance(outcome, actions.Refused):
            raise _error_of(plan, outcome)
        if _writes(plan.action):
            return AFTER_WRITE_S
        self._parts.metrics.forget_model(plan.key.namespace, plan.key.name)
        self._sweep.forget(seen.key)
        return None

    def _next(
        self, plan: actions.Plan, outcome: actions.Outcome, seen: observed.Observed, *, has_changed: bool
    ) -> float | None:
        if isinstance(outcome, actions.Refused):
            raise _error_of(plan, outcome)
        if has_changed or _writes(plan.action):
            return min(plan.requeue_after_s, AFTER_WRITE_S)
        if plan.requeue_after_s >= self._parts.bounds.resync_s:
            self._sweep.settle(plan.key, fingerprint.of_pass(seen))
            return None
        return plan.requeue_after_s

    def _tell(self, plan: actions.Plan, outcome: actions.Outcome) -> None:
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
