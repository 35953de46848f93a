"""Kubernetes events: one object for each different sentence about a model; a repeat raises its count.

They are sent one after the other in the background: no pass waits for one, and a thousand models that become ready at
once don't have four thousand events written between their statuses.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime
import hashlib
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from fairlead_operator.api import names
from fairlead_operator.clients import errors, kubernetes, paths
from fairlead_operator.clients.clock import Clock
from fairlead_operator.state import actions, observed

BURST = 25
REFILL_S = 30.0
MODELS_MAX = 4096
COUNTS_MAX = 4096
NOTE_MAX_BYTES = 1024
WAITING_MAX = 8192
"""So many wait to be sent; more are dropped."""
SENT_AT_ONCE = 100
PACE_S = 0.02
"""Between two that are sent, once so many went at once."""
CROWD_PACE_S = 0.0005
"""For each model that waits for something on its way: the API server is left to the statuses of a crowd."""
PACE_MAX_S = 0.25
CONTROLLER = "fairlead.dev/operator"

log = logging.getLogger(__name__)


class _Waiting(NamedTuple):
    model: observed.ModelDeploymentView
    event: actions.Event
    at: datetime.datetime


class EventWriter:
    """Sends events; a failure to send is logged and forgotten, as nothing depends on an event."""

    def __init__(self, api: kubernetes.KubernetesClient, *, instance: str, clock: Clock) -> None:
        self._api = api
        self.crowd: Callable[[], int] = lambda: 0
        """How many models wait for something that is on its way."""
        self._instance = instance
        self._clock = clock
        self._counts: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._buckets: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._wake = asyncio.Event()
        self._allowance = (float(SENT_AT_ONCE), clock.monotonic_s())

    def __len__(self) -> int:
        """Events that wait to be sent."""
        return len(self._waiting)

    def send(self, model: observed.ModelDeploymentView, *events: actions.Event, at: datetime.datetime) -> None:
        """Have them sent soon, in this order."""
        for event in events:
            about = {"key": f"{model.namespace}/{model.name}", "reason": event.reason}
            if not self._may_send(model.uid):
                log.warning("event dropped: too many for this model", extra=about)
            elif len(self._waiting) >= WAITING_MAX:
                log.warning("event dropped: too many wait to be sent", extra=about)
            else:
                self._waiting.append(_Waiting(model, event, at))
                self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        while True:
            self._wake.clear()
            await self.send_waiting()
            await self._wake.wait()

    async def send_waiting(self) -> None:
        """Send what waits: some at once, the others at a pace that leaves the API server to the statuses."""
        while self._waiting:
            model, event, at = self._waiting.popleft()
            about = {"key": f"{model.namespace}/{model.name}", "reason": event.reason}
            try:
                await self._send(model, event, at)
            except errors.FairleadError as error:
                log.warning("event not sent", extra={**about, "error": str(error)})
            except Exception:
                log.exception("event not sent", extra=about)  # one of them must not end all others
            await self._keep_pace()

    async def _keep_pace(self) -> None:
        now_s = self._clock.monotonic_s()
        left, at_s = self._allowance
        pace_s = self.pace_s
        left = min(float(SENT_AT_ONCE), left + (now_s - at_s) / pace_s) - 1
        self._allowance = (left, now_s)
        if left < 0:
            await asyncio.sleep(pace_s)

    @property
    def pace_s(self) -> float:
        """Seconds between two events that are sent, while many wait."""
        return min(PACE_MAX_S, max(PACE_S, CROWD_PACE_S * self.crowd()))

    async def _send(self, model: observed.ModelDeploymentView, event: actions.Event, now: datetime.datetime) -> None:
        body = _body(model, event, now=now, instance=self._instance)
        name = body["metadata"]["name"]
        count = self._counts.pop(name, 0) + 1
        if count == 1:
            with contextlib.suppress(errors.AlreadyExists):
                await self._api.create(paths.events(model.namespace), body)
        else:
            series = {"count": count, "lastObservedTime": _micro(now)}
            try:
                await self._api.merge_patch(paths.events(model.namespace, name), {"series": series})
            except errors.NotFound:  # it is older than the API server keeps events
                count = 1
                await self._api.create(paths.events(model.namespace), body)
        self._counts[name] = count
        if len(self._counts) > COUNTS_MAX:
            self._counts.popitem(last=False)

    def _may_send(self, uid: str) -> bool:
        """A token bucket for each object: ``BURST`` at once, one more each ``REFILL_S``."""
        now_s = self._clock.monotonic_s()
        tokens, at_s = self._buckets.pop(uid, (float(BURST), now_s))
        tokens = min(float(BURST), tokens + (now_s - at_s) / REFILL_S)
        allowed = tokens >= 1
        self._buckets[uid] = (tokens - allowed, now_s)
        if len(self._buckets) > MODELS_MAX:
            self._buckets.popitem(last=False)
        return allowed


def _body(
    model: observed.ModelDeploymentView, event: actions.Event, *, now: datetime.datetime, instance: str
) -> dict[str, Any]:
    # With the instance in it: only the process that made an event knows its count, as our rules forbid to read it.
    sentence = "\0".join((instance, model.uid, event.type, event.reason, event.message))
    name = f"{model.name}.{hashlib.sha256(sentence.encode()).hexdigest()[:16]}"
    return {
        "apiVersion": paths.EVENT_API,
        "kind": "Event",
        "metadata": {"name": name, "namespace": model.namespace},
        "eventTime": _micro(now),
        "type": event.type,
        "reason": event.reason,
        "action": event.reason,
        "note": _cut(event.message),
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": model.namespace,
            "name": model.name,
            "uid": model.uid,
        },
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
    }


def _cut(text: str) -> str:
    raw = text.encode()
    return text if len(raw) <= NOTE_MAX_BYTES else raw[: NOTE_MAX_BYTES - 4].decode("utf-8", "ignore") + "…"


def _micro(time: datetime.datetime) -> str:
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
