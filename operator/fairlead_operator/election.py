"""One writer at a time: a Lease held by 15/10/2 s, judged by what was seen to change on our own monotonic clock.

No wall clock of another machine is ever compared (Source: client-go ``tools/leaderelection``, the same three times).
A Lease doesn't fence, so ``clients.http`` asks ``remaining_s`` before each write and before any of its bytes is sent,
and ``WakingSelector`` compares the clock each time the event loop wakes, so that a process that was stopped ends at
once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import selectors
from collections.abc import Callable
from typing import Any, Protocol

from typing_extensions import override

from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.clients.clock import Clock

LEASE_DURATION_S = 15.0
RENEW_DEADLINE_S = 10.0
RETRY_PERIOD_S = 2.0
API_VERSION = "coordination.k8s.io/v1"

log = logging.getLogger(__name__)


class WakingSelector(selectors.DefaultSelector):
    """Calls ``on_wake`` each time the event loop wakes, before any callback runs.

    asyncio runs what is ready to be read and written before the timers that are due: after SIGSTOP or a pause of the
    machine, much would go on before a timer could see that the Lease is over.
    """

    on_wake: Callable[[], None] | None = None

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        if self.on_wake is not None:
            self.on_wake()
        return ready


class LeaseApi(Protocol):
    """What of the Kubernetes client the election needs."""

    async def get(self, path: str) -> kubernetes.Object: ...

    async def create(self, path: str, body: dict[str, Any]) -> kubernetes.Object: ...

    async def replace(self, path: str, body: dict[str, Any]) -> kubernetes.Object: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseName:
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return kubernetes.path_of(API_VERSION, "leases", namespace=self.namespace, name=self.name)

    @property
    def collection(self) -> str:
        return kubernetes.path_of(API_VERSION, "leases", namespace=self.namespace)


class Election:
    """Take the Lease, keep it, say for how long it is surely ours, give it back."""

    def __init__(self, api: LeaseApi, lease: LeaseName, *, identity: str, clock: Clock) -> None:
        self._api = api
        self._lease = lease
        self._identity = identity
        self._clock = clock
        self._seen: tuple[str, str] | None = None  # (holder, resourceVersion) as last observed
        self._seen_at_s = 0.0
        self._held_until_s: float | None = None
        self._answered_at_s: float | None = None
        self._own: kubernetes.Object | None = None
        """The Lease as our last write left it: while nobody else wrote it, a renewal is one request."""
        self.transitions = 0
        """How often the Lease passed to another process, as it was read or written last."""

    @property
    def is_held(self) -> bool:
        return self.remaining_s() > 0

    @property
    def is_in_touch(self) -> bool:
        """Whether the API server answered an attempt lately, ours or not."""
        return self._answered_at_s is not None and self._clock.monotonic_s() - self._answered_at_s < LEASE_DURATION_S

    def remaining_s(self) -> float:
        """How long no other process can have taken the Lease; 0 when it is not ours."""
        if self._held_until_s is None:
            return 0.0
        return max(0.0, self._held_until_s - self._clock.monotonic_s())

    async def acquire(self) -> None:
        """Return once the Lease is ours; try for ever."""
        while not await self._try():
            await asyncio.sleep(RETRY_PERIOD_S)
        log.info("lease taken", extra={"lease": self._lease.name, "holder": self._identity})

    async def keep(self, on_loss: Callable[[], None]) -> None:
        """Renew until that failed for the deadline, another holder was seen or our time is over; then ``on_loss``."""
        tasks = [asyncio.create_task(self._renew()), asyncio.create_task(self._run_out())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
        self._held_until_s = None
        on_loss()

    async def _renew(self) -> None:
        """Return when the Lease can't be kept."""
        renewed_at_s = self._clock.monotonic_s()
        while True:
            await asyncio.sleep(RETRY_PERIOD_S)
            if await self._try():
                renewed_at_s = self._clock.monotonic_s()
            elif self._held_until_s is None or self._clock.monotonic_s() - renewed_at_s > RENEW_DEADLINE_S:
                return

    async def _run_out(self) -> None:
        """Return when our time is over, even while a renewal is under way."""
        while (left_s := self.remaining_s()) > 0:
            await asyncio.sleep(left_s)

    @property
    def has_run_out(self) -> bool:
        """Whether it was held and another process may have taken it since."""
        return self._held_until_s is not None and self.remaining_s() <= 0

    async def release(self) -> None:
        """Give the Lease back at once, so that a standby need not wait for its end."""
        if not self.is_held:
            return
        self._held_until_s = None
        try:
            body = await self._api.get(self._lease.path)
            if body["spec"].get("holderIdentity") == self._identity:
                body["spec"].update(holderIdentity="", leaseDurationSeconds=1)
                await self._api.replace(self._lease.path, body)
        except errors.FairleadError as error:
            log.warning("lease not given back, it will run out", extra={"error": str(error)})

    async def _try(self) -> bool:
        """One attempt to take or renew; False where it failed or is not ours."""
        asked_at_s = self._clock.monotonic_s()
        try:
            async with asyncio.timeout(RENEW_DEADLINE_S / 2):
                taken = await self._take(asked_at_s)
        except (errors.FairleadError, TimeoutError) as error:
            log.warning("lease attempt failed", extra={"error": str(error)})
            return False
        self._answered_at_s = self._clock.monotonic_s()
        # Counted from before the request: the API server may have stamped it any time after.
        self._held_until_s = asked_at_s + LEASE_DURATION_S if taken else None
        return taken

    async def _take(self, now_s: float) -> bool:
        own, self._own = self._own, None
        if own is not None and self._held_until_s is not None:
            try:
                await self._write(own, transitions=int(own["spec"].get("leaseTransitions") or 0))
            except errors.Conflict:
                log.debug("the Lease was written by somebody else; it is read again")
            else:
                return True
        try:
            body = await self._api.get(self._lease.path)
        except errors.NotFound:
            created = await self._api.create(self._lease.collection, self._body({}, transitions=0))
            return bool(created)
        spec = body.get("spec") or {}
        self.transitions = int(spec.get("leaseTransitions") or 0)
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._has_run_out(holder, body, now_s):
            return False
        await self._write(body, transitions=self.transitions + (holder != self._identity))
        return True

    async def _write(self, previous: kubernetes.Object, *, transitions: int) -> None:
        """Replace exactly the version that was read or written last (Conflict otherwise)."""
        self._own = await self._api.replace(self._lease.path, self._body(previous, transitions=transitions))
        self.transitions = transitions

    def _has_run_out(self, holder: str, body: kubernetes.Object, now_s: float) -> bool:
        seen = (holder, body["metadata"]["resourceVersion"])
        if seen != self._seen:
            self._seen, self._seen_at_s = seen, now_s
        return now_s - self._seen_at_s > LEASE_DURATION_S

    def _body(self, previous: kubernetes.Object, *, transitions: int) -> kubernetes.Object:
        now = self._clock.now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = previous.get("spec") or {}
        same_holder = old.get("holderIdentity") == self._identity
        return {
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": previous.get("metadata") or {"name": self._lease.name, "namespace": self._lease.namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(LEASE_DURATION_S),
                "acquireTime": old["acquireTime"] if same_holder and "acquireTime" in old else now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
