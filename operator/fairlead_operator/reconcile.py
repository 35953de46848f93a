"""One pass over one key: quorum GET → observe → plan → at most one outside write → status if it changed → events.

The only module that knows every step; each trigger ends here with nothing but a key.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from fairlead_operator import cluster_mode, composer, composition, drafts, queue, ray_pass, sweep, telemetry, waiting
from fairlead_operator.clients import errors
from fairlead_operator.clients.clock import Clock
from fairlead_operator.desired import build
from fairlead_operator.effects import execute
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
CROWD_REST_S = 0.05
CROWD_REST_MAX_S = 30.0
"""Of many such models each is looked at so much more seldom: looking takes some milliseconds of the processor."""
CROWD_DRAFT_S = 0.05
DRAFT_MAX_S = 30.0
"""A status that says nothing that anybody waits for is written so long after it was decided, for each model that is on
its way: twenty of them a second, over all models."""
PROOF_QUIET_S = 1.0
"""A proof that takes longer than this is said in the status."""
DATE_SLACK_S = 0.005

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
    statuses: drafts.StatusWriter
    bounds: bounds.Bounds
    clock: Clock
    metrics: telemetry.Metrics
    missing_fields: Callable[[], tuple[str, ...]]
    """The fields of the status that the CRD lacks, as dotted paths below ``status``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """The object of a pass: as the API server had it at ``read_at_s``, and what was decided since."""

    stored: observed.ModelDeploymentView
    read_at_s: float
    draft: drafts.Draft | None = None

    @property
    def view(self) -> observed.ModelDeploymentView:
        return self.draft.view if self.draft is not None else self.stored


class Reconciler:
    def __init__(
        self,
        parts: Parts,
        work: queue.KeyedQueue[keys.Key],
        *,
        swept: sweep.Sweep,
        ray: ray_pass.RayPass,
        infrastructure: cluster_mode.ClusterMode | None = None,
    ) -> None:
        """Without ``infrastructure`` Ray clusters and gateways are given."""
        self._parts = parts
        self._infrastructure = infrastructure
        self._ray_pass = ray
        self._queue = work
        self._sweep = swept
        self._composer = composer.Composer(composed=parts.composed, nudge=parts.hands.nudge, metrics=parts.metrics)

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
            case keys.NamespaceKey() | keys.ClassKey():
                return await self._infrastructure.run(key) if self._infrastructure is not None else None
        assert_never(key)

    async def _model(self, key: keys.ModelKey) -> float | None:
        """Passes over a model, one after the other while each has done or decided something.

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
        """It asks the API server only where nothing is known of the object, or something newer is."""
        if self._parts.namespaces(key.namespace).is_pending():
            self._parts.waits.park(key)
            return None
        held = self._last_read(key)
        if held is not None and (left_s := self._left_s(key, held)) > 0:
            self._parts.waits.hold(key, held)
            return left_s if math.isfinite(left_s) else None
        read = await self._read(key, held)
        if read is None:
            return await self._after_the_object(self._look(key, None).seen)
        return await self._report_unexpected(read, self._look(key, read), held)

    def _last_read(self, key: keys.ModelKey) -> waiting.Held | None:
        """What the last pass ended with, or what a full listing brought before any pass; no object that is outdated."""
        held, body = self._parts.waits.take(key), self._sweep.take_listed(key)
        if held is None and body is not None:
            view = objects.view_model(body)
            return waiting.Held(evidence=b"", version=view.resource_version, view=view, read_at_s=-math.inf)
        if held is not None and self._sweep.is_outdated(key, held.version):
            return None
        return held

    def _left_s(self, key: keys.ModelKey, held: waiting.Held) -> float:
        """How long the model needs no pass, as far as is known now."""
        left_s = held.due_at_s - self._parts.clock.monotonic_s()
        return left_s if left_s > DATE_SLACK_S and self._parts.waits.is_unchanged(key, held) else 0.0

    async def _read(self, key: keys.ModelKey, held: waiting.Held | None) -> _Read | None:
        if held is not None and held.view is not None:
            return _Read(stored=held.view, draft=held.draft, read_at_s=held.read_at_s)
        read_at_s = self._parts.clock.monotonic_s()
        self._sweep.begin_read(key)
        view = await self._parts.observer.fetch(key)
        if view is None:
            self._sweep.note_gone(key)
            return None
        return _Read(stored=view, read_at_s=read_at_s)

    def _look(self, key: keys.ModelKey, read: _Read | None) -> snapshot.Look:
        """The world around the object; what should run for it becomes known to its Ray clusters."""
        look = self._parts.observer.look(key, read.view if read is not None else None)
        if dropped := (*self._parts.missing_fields(), *self._parts.statuses.dropped_fields(key)):
            look = replace(look, seen=replace(look.seen, dropped_fields=dropped))
        if read is not None:
            self._composer.note(look.seen, read.stored)
        else:
            self._composer.remove(key)
        return look

    async def _report_unexpected(self, read: _Read, look: snapshot.Look, held: waiting.Held | None) -> float | None:
        """A pass over an object that is there; an unexpected error becomes an event on the object."""
        try:
            return await self._living(read, await self._parts.observer.measure(look), held)
        except errors.FairleadError:
            raise
        except Exception as error:
            message = (
                f"An unexpected error ended the operator's pass: {type(error).__name__}. The operator's log has the "
                "details. It retries."
            )
            event = actions.Event(type=reasons.EventType.WARNING, reason=reasons.Reason.INTERNAL_ERROR, message=message)
            self._parts.statuses.report(read.stored, event)
            raise

    async def _living(self, read: _Read, look: snapshot.Look, held: waiting.Held | None) -> float | None:
        key, now_s = look.seen.key, self._parts.clock.monotonic_s
        desired = build.build(read.view, look.seen.revisions, self._parts.bounds, cluster=look.seen.placement)
        plan, seen = await self._decide(desired, read.view, look.seen)
        newest = await self._announce(read, plan, seen)
        if newest is None:
            return AFTER_WRITE_S
        read = newest
        outcome, read = await self._carry_out(plan, read, seen)
        if isinstance(outcome, actions.Done) and isinstance(
            plan.action, actions.AddFinalizer | actions.RemoveFinalizer
        ):
            if outcome.stored is not None:
                read = _Read(stored=objects.view_model(outcome.stored), read_at_s=now_s())
                self._go_on(key, read, look)
            return AFTER_WRITE_S  # the object has another version now: the next pass tells of it
        now = self._parts.clock.now()
        update = summary.summarise(desired, read.view, seen, plan=plan, outcome=outcome, now=now)
        self._parts.metrics.models.show(key.namespace, key.name, update.status)
        draft = drafts.follow(read.draft, read.stored, update, now_s=now_s())
        read = replace(read, draft=draft)
        is_written = draft is not None and self._is_to_be_written(draft, plan, outcome, seen)
        if draft is not None and is_written:
            read = await self._write(draft, seen)
        if isinstance(outcome, actions.Refused):
            raise execute.error_of(plan, outcome)
        if is_written or goes_on(plan):
            self._go_on(key, read, look)
            return min(plan.requeue_after_s, AFTER_WRITE_S)
        return self._hold(plan, look, read, before=held if update.patch is None else None)

    async def _decide(
        self, desired: Wish, view: observed.ModelDeploymentView, seen: observed.Observed
    ) -> tuple[actions.Plan, observed.Observed]:
        """What is free is read only where a rollout would begin beside something that serves."""
        plan = planner.make(desired, seen, self._parts.bounds, seen.observed_at)
        begins = view.status.rollout is None and plan.serving.rollout is not None
        if begins and view.status.stable_revision is not None:
            seen = await self._parts.observer.add_capacity(seen)
            plan = planner.make(desired, seen, self._parts.bounds, seen.observed_at)
        return plan, seen

    async def _announce(self, read: _Read, plan: actions.Plan, seen: observed.Observed) -> _Read | None:
        """Before a write that a successor has to know of, what was decided is written, or the object read once more.

        None where the object is not as it was read: nothing may be done.
        """
        if not execute.is_announced(plan.action):
            return read
        if read.draft is not None:
            return await self._write(read.draft, seen)
        if self._parts.clock.monotonic_s() - read.read_at_s < FRESH_S:
            return read
        found = await self._read(plan.key, None)
        return found if found is not None and found.stored.resource_version == read.stored.resource_version else None

    async def _carry_out(
        self, plan: actions.Plan, read: _Read, seen: observed.Observed
    ) -> tuple[actions.Outcome, _Read]:
        doing = asyncio.ensure_future(execute.execute(plan, self._parts.hands))
        try:
            if isinstance(plan.action, actions.Prove) and read.draft is not None:
                await asyncio.wait({doing}, timeout=PROOF_QUIET_S)
                if not doing.done():
                    read = await self._write(read.draft, seen)
            outcome = await doing
        finally:
            doing.cancel()
        if isinstance(plan.action, actions.AddFinalizer | actions.CreateRevision):
            # A first model is the reason to start Serve, and while Serve is not there nothing else would ask for it.
            self._parts.hands.nudge(keys.RayKey(plan.key.namespace, seen.placement))
        self._log_outcome(plan, outcome)
        return outcome, read

    def _is_to_be_written(
        self, draft: drafts.Draft, plan: actions.Plan, outcome: actions.Outcome, seen: observed.Observed
    ) -> bool:
        return drafts.is_to_be_written(
            draft,
            plan,
            outcome,
            goes_on=goes_on(plan),
            is_due=self._parts.clock.monotonic_s() >= self._write_at_s(draft),
            differs=lambda: self._composer.differs(seen, draft.view),
        )

    def _write_at_s(self, draft: drafts.Draft) -> float:
        return draft.began_s + min(DRAFT_MAX_S, CROWD_DRAFT_S * (1 + self._parts.waits.crowd))

    async def _write(self, draft: drafts.Draft, seen: observed.Observed) -> _Read:
        stored = await self._parts.statuses.write(draft)
        self._composer.note(seen, stored)
        return _Read(stored=stored, read_at_s=self._parts.clock.monotonic_s())

    async def _after_the_object(self, seen: observed.Observed) -> float | None:
        plan = planner.make(knowledge.ABSENT, seen, self._parts.bounds, seen.observed_at)
        outcome = await execute.execute(plan, self._parts.hands)
        self._log_outcome(plan, outcome)
        if isinstance(outcome, actions.Refused):
            raise execute.error_of(plan, outcome)
        if execute.is_write(plan.action):
            return AFTER_WRITE_S
        if plan.requeue_after_s < self._parts.bounds.resync_s:
            return plan.requeue_after_s
        self._parts.metrics.models.forget(plan.key.namespace, plan.key.name)
        self._sweep.forget(seen.key)
        self._parts.statuses.forget(seen.key)
        self._parts.waits.take(seen.key)
        return None

    def _go_on(self, key: keys.ModelKey, read: _Read, look: snapshot.Look) -> None:
        """The next pass follows at once; the answer to a write is the object, so it need not be asked for again."""
        held = waiting.Held(
            evidence=look.hot_evidence,
            version=read.stored.resource_version,
            view=read.stored,
            draft=read.draft,
            read_at_s=read.read_at_s,
            is_hot=True,
        )
        self._parts.waits.hold(key, held)

    def _hold(
        self, plan: actions.Plan, look: snapshot.Look, read: _Read, *, before: waiting.Held | None
    ) -> float | None:
        """The model waits for its evidence, and for the plan's date where it has one.

        What is on its way is looked at again after a growing time, from memory: deadlines are in the plan, not here.
        """
        waits, delay_s = self._parts.waits, plan.requeue_after_s
        is_idle = delay_s >= self._parts.bounds.resync_s and read.draft is None
        was_waiting = before is not None and before.delay_s > 0
        if delay_s <= self._parts.bounds.poll_s:
            longest_s = max(REST_MAX_S, min(CROWD_REST_MAX_S, CROWD_REST_S * waits.crowd))
            grown_s = before.delay_s * REST_GROWTH if before is not None else 0.0
            delay_s = min(longest_s, max(delay_s, grown_s))
        if not is_idle and not was_waiting:
            waits.hurry(plan.key.namespace)
        now_s = self._parts.clock.monotonic_s()
        due_at_s = math.inf if is_idle else now_s + delay_s
        if read.draft is not None:
            due_at_s = min(due_at_s, self._write_at_s(read.draft))
        held = waiting.Held(
            evidence=look.evidence if is_idle else look.hot_evidence,
            version=read.stored.resource_version,
            view=None if is_idle else read.stored,
            draft=read.draft,
            read_at_s=read.read_at_s,
            delay_s=0.0 if is_idle else delay_s,
            due_at_s=due_at_s,
            is_hot=not is_idle,
            is_judged=plan.serving.rules.is_measured,
        )
        waits.hold(plan.key, held)
        return None if is_idle else max(DATE_SLACK_S, due_at_s - now_s)

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


def goes_on(plan: actions.Plan) -> bool:
    """Whether the next pass has something to do at once."""
    return execute.is_write(plan.action) or plan.requeue_after_s <= AFTER_WRITE_S
