"""Keys that wait, each for a change of its own part of the world or for a date. Waiting costs no request.

Whoever reads the world in the background says so here (``on_answer``); what a key rests on is compared with what its
last pass saw, and only keys for which it differs are queued.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fairlead_operator import drafts, queue
from fairlead_operator.clients.clock import Clock
from fairlead_operator.observe import fingerprint
from fairlead_operator.state import keys, observed

BLINK_S = 8.0
"""What many idle models share has to be unreadable for this long before they look at it."""
PARKED_MAX_S = 1.0
"""A key that waits for an answer looks again after this time, whatever comes."""


class Namespace(Protocol):
    """What of a namespace's view decides who is queued."""

    def is_pending(self) -> bool: ...

    def hurry(self) -> None: ...

    def world(self) -> fingerprint.World: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a key's last pass ended with.

    ``evidence`` is what it saw of the world, ``version`` the object's resourceVersion. ``view`` is the object as the
    API server has it, where the key is looked at again by a date without asking for it; ``read_at_s`` is when the
    API server said so. ``draft`` is a status that was not written yet. Until ``due_at_s`` only other evidence or
    another version needs a pass; ``delay_s`` is the pause before that date, which grows. ``is_judged``: a revision
    that takes traffic may be condemned by what is seen of it.
    """

    evidence: bytes
    version: str = ""
    view: observed.ModelDeploymentView | None = None
    read_at_s: float = 0.0
    draft: drafts.Draft | None = None
    delay_s: float = 0.0
    due_at_s: float = 0.0
    is_hot: bool = False
    is_judged: bool = False


class Waiting:
    """Every key that waits, by namespace."""

    def __init__(
        self, work: queue.KeyedQueue[keys.Key], namespaces: Callable[[str], Namespace], *, clock: Clock
    ) -> None:
        self._queue = work
        self._namespaces = namespaces
        self._clock = clock
        self._held: dict[str, dict[keys.WaitingKey, Held]] = defaultdict(dict)
        self._hot: dict[str, int] = defaultdict(int)
        self._judged: dict[str, int] = defaultdict(int)
        self._parked: dict[str, set[keys.WaitingKey]] = defaultdict(set)
        self._due: set[str] = set()
        self._unknown_since_s: dict[str, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def hold(self, key: keys.WaitingKey, held: Held) -> None:
        """The key needs no pass until its evidence changes; its date is the queue's."""
        self._release(key)
        self._held[key.namespace][key] = held
        self._hot[key.namespace] += held.is_hot
        self._judged[key.namespace] += held.is_judged

    def get(self, key: keys.WaitingKey) -> Held | None:
        return self._held[key.namespace].get(key)

    def take(self, key: keys.WaitingKey) -> Held | None:
        """What the key was held with: a pass begins."""
        self._parked[key.namespace].discard(key)
        return self._release(key)

    def touch(self, key: keys.WaitingKey) -> None:
        """Something changed that the key's last pass can't have seen."""
        self._release(key)
        self._queue.add(key)

    def park(self, key: keys.WaitingKey) -> None:
        """The pass can't be made before the next answer in its namespace."""
        self._parked[key.namespace].add(key)
        self._queue.add_after(key, PARKED_MAX_S)

    @property
    def crowd(self) -> int:
        """How many keys wait for something on its way, in all namespaces."""
        return sum(self._hot.values())

    def is_unchanged(self, key: keys.ModelKey, held: Held) -> bool:
        """Whether the model's part of the world is as its last pass saw it."""
        return self._namespaces(key.namespace).world().hash_model(key.name, is_hot=held.is_hot) == held.evidence

    def hurry(self, namespace: str) -> None:
        """Something was just done there whose effect is waited for."""
        self._namespaces(namespace).hurry()

    def is_hot(self, namespace: str) -> bool:
        """Whether a key of the namespace waits for something that is on its way."""
        return self._hot[namespace] > 0 or bool(self._parked[namespace])

    def is_judged(self, namespace: str) -> bool:
        """Whether a revision of the namespace that takes traffic is judged."""
        return self._judged[namespace] > 0

    def on_answer(self, namespace: str) -> None:
        """An answer in this namespace differs from the one before; many within one turn of the loop are one look."""
        if namespace not in self._due:
            self._due.add(namespace)
            asyncio.get_running_loop().call_soon(self._look, namespace)

    def on_model(self, key: keys.ModelKey) -> None:
        """Something changed in the world that is this model's alone."""
        if key.namespace not in self._due and (held := self._held[key.namespace].get(key)) is not None:
            self._compare(key, held, self._namespaces(key.namespace).world(), is_blink=False)

    def _look(self, namespace: str) -> None:
        self._due.discard(namespace)
        view = self._namespaces(namespace)
        if not view.is_pending():
            for key in self._parked.pop(namespace, ()):
                self._queue.add(key)
        world = view.world()
        is_blink = self._is_blink(namespace, world)
        for key, held in tuple(self._held[namespace].items()):
            self._compare(key, held, world, is_blink=is_blink)

    def _compare(self, key: keys.WaitingKey, held: Held, world: fingerprint.World, *, is_blink: bool) -> None:
        now = (
            world.hash_model(key.name, is_hot=held.is_hot)
            if isinstance(key, keys.ModelKey)
            else world.hash_ray(key.cluster)
        )
        if now != held.evidence and (held.is_hot or not is_blink):
            self._queue.add(key)  # its object is still as it was read: a pass from memory may do

    def _is_blink(self, namespace: str, world: fingerprint.World) -> bool:
        """One failed read of what a thousand models share must not write a thousand statuses."""
        if not world.has_unknown:
            self._unknown_since_s.pop(namespace, None)
            return False
        now_s = self._clock.monotonic_s()
        left_s = self._unknown_since_s.setdefault(namespace, now_s) + BLINK_S - now_s
        if left_s <= 0:
            return False
        asyncio.get_running_loop().call_later(left_s + 0.1, self.on_answer, namespace)
        return True

    def _release(self, key: keys.WaitingKey) -> Held | None:
        held = self._held[key.namespace].pop(key, None)
        if held is not None:
            self._hot[key.namespace] -= held.is_hot
            self._judged[key.namespace] -= held.is_judged
        return held
