"""What goes wrong, and when: one script sees every write of the operator, wherever it goes, and strikes once.

A point is the n-th write of one kind ("the 3rd status write"), not the n-th of all: model and Ray passes run side by
side, so their order differs from run to run, and with an ordinal some writes would be hit twice and others never.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Kind(StrEnum):
    """What happens at the point."""

    KILL_BEFORE = "operator killed before the write"
    KILL_AFTER = "operator killed after the write"
    KILL_TWICE = "operator killed before the write, and its successor before its third"
    CONFLICT = "409"
    BUSY = "429 with Retry-After"
    ERROR = "500"
    UNAVAILABLE = "503"
    HANG_BEFORE = "hangs, nothing happened"
    HANG_AFTER = "hangs, it happened"
    CUT = "answer cut in the body, it happened"
    DROP_BEFORE = "connection dropped, nothing happened"
    DROP_AFTER = "connection dropped, it happened"
    WATCH_HELD = "watch events held back for 2 s from here"
    WATCH_LOST = "watch events lost from here until the stream ends"
    WATCH_CUT = "watch streams cut here"
    RAY_READS = "the next 3 reads of Ray answer 503"
    RAY_EMPTY = "the next 3 reads of Ray answer 200 with nothing"
    GATEWAY_READS = "the next 3 reads of the gateway are dropped"
    GATEWAY_CUT = "the next 3 reads of the gateway are cut in the body"
    API_READS = "the next 3 reads of the API server answer 503"


KILLS = (Kind.KILL_BEFORE, Kind.KILL_AFTER)
CODES = {Kind.CONFLICT: 409, Kind.BUSY: 429, Kind.ERROR: 500, Kind.UNAVAILABLE: 503}
HAPPENED = frozenset({Kind.KILL_AFTER, Kind.HANG_AFTER, Kind.CUT, Kind.DROP_AFTER})
READS = {
    Kind.RAY_READS: "ray",
    Kind.RAY_EMPTY: "ray",
    Kind.GATEWAY_READS: "gateway admin",
    Kind.GATEWAY_CUT: "gateway admin",
    Kind.API_READS: "api",
}
WATCHES = frozenset({Kind.WATCH_HELD, Kind.WATCH_LOST, Kind.WATCH_CUT})
READS_STRUCK = 3
WRITES_BETWEEN_KILLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The ``nth`` write called ``write``, from 1."""

    write: str
    nth: int

    def __str__(self) -> str:
        return f"{self.write} {self.nth}"


START = Point(write="the start", nth=0)
"""Before the story's own act: for reads and watches, which need no write to go wrong at."""


@dataclass(slots=True, kw_only=True)
class Write:
    """One mutating request as a proxy saw it. ``code`` is the server's own answer, None where it never got there."""

    at_s: float
    name: str
    path: str
    body: bytes
    code: int | None = None
    struck: Kind | None = None

    @property
    def happened(self) -> bool:
        return self.code is not None and self.code < 300

    def document(self) -> dict[str, object]:
        found = json.loads(self.body or b"{}")
        return found if isinstance(found, dict) else {}


def name_of(target: str, method: str, path: str) -> str | None:
    """What a write is called; None for what is no write, or is not counted: the Lease, renewed by the clock."""
    if method not in MUTATING or "/leases" in path:
        return None
    if target == "ray":
        return "serve config"
    if target == "gateway data":
        return "prediction"
    for part, name in (
        ("/status", "status"),
        ("/modeldeployments/", "finalizer"),
        ("/events", "event"),
    ):
        if part in path:
            return name
    if "/modelroutes/" in path:
        return {"PATCH": "route", "DELETE": "route deleted"}[method]
    if "/controllerrevisions" in path:
        return {"POST": "revision made", "PATCH": "digest pinned", "DELETE": "revision deleted"}[method]
    raise AssertionError(f"an unexpected write: {method} {target} {path}")


@dataclass
class Script:
    """Shared by all proxies of a bench; safe to call from any thread."""

    kill: Callable[[], None]
    on_write: Callable[[Write], None] = lambda write: None
    """Called before a write is forwarded: the invariants look at the world as it is then."""
    on_end: Callable[[Write], None] = lambda write: None
    """Called once the server has answered a write, or didn't."""
    bystander: str = ""
    """A namespace in which nothing is struck; its writes are kept beside."""
    bystander_writes: list[Write] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    """Set once the point was reached."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_armed: bool = False
    _point: Point | None = None
    _kind: Kind | None = None
    _counts: Counter[str] = field(default_factory=Counter)
    _last_write_s: float = 0.0
    _reads_left: int = 0
    _until_again: int | None = None
    _watch_struck_at_s: float | None = None
    broken: list[str] = field(default_factory=list)
    """Invariants that a write broke."""

    def arm(self, point: Point | None = None, kind: Kind | None = None) -> None:
        """Count from now on, and strike at the point."""
        with self._lock:
            self._is_armed, self._point, self._kind = True, point, kind
        if point == START and kind is not None:
            self._strike(kind)

    def begin(self, target: str, method: str, path: str, body: bytes) -> tuple[Write, Kind | None] | None:
        """A write has come: its record, and what the proxy shall do with it."""
        name = name_of(target, method, path)
        if name is None:
            return None
        write = Write(at_s=time.monotonic(), name=name, path=path, body=body)
        with self._lock:
            self._last_write_s = write.at_s
            if not self._is_armed:
                return write, None
            if self._is_of_bystander(path):
                self.bystander_writes.append(write)
                return write, None
            self.writes.append(write)
            self._counts[name] += 1
            is_point = self._point == Point(write=name, nth=self._counts[name])
            strikes = self._kind if is_point else self._again()
        try:
            self.on_write(write)
        except AssertionError as error:
            self.broken.append(str(error))
        if strikes is None:
            return write, None
        write.struck = strikes
        return write, self._strike(strikes)

    def _is_of_bystander(self, path: str) -> bool:
        return bool(self.bystander) and f"/namespaces/{self.bystander}/" in path

    def _again(self) -> Kind | None:
        """The second kill of two."""
        if self._until_again is None:
            return None
        self._until_again -= 1
        if self._until_again > 0:
            return None
        self._until_again = None
        return Kind.KILL_BEFORE

    def _strike(self, kind: Kind) -> Kind | None:
        """Faults of reads and watches begin here and leave the write alone."""
        if kind in (Kind.KILL_BEFORE, Kind.KILL_TWICE):
            self.kill()
        with self._lock:
            if kind is Kind.KILL_TWICE:
                self._until_again = WRITES_BETWEEN_KILLS
            elif kind in READS:
                self._reads_left = READS_STRUCK
            elif kind in WATCHES:
                self._watch_struck_at_s = time.monotonic()
        if kind is not Kind.KILL_AFTER:
            self.reached.set()
        return None if kind in READS or kind in WATCHES else kind

    def ended(self, write: Write) -> None:
        """What it did can be read now."""
        self.on_end(write)

    def killed_after(self) -> None:
        self.kill()
        self.reached.set()

    def read(self, target: str, path: str) -> Kind | None:
        """What shall happen to a read."""
        with self._lock:
            kind = self._kind
            if kind is None or self._reads_left == 0 or READS.get(kind) != target or self._is_of_bystander(path):
                return None
            self._reads_left -= 1
            return kind

    @property
    def may_strike_watches(self) -> bool:
        return not self._is_armed or self._kind in WATCHES

    def watch(self, opened_at_s: float, path: str) -> tuple[Kind, float] | None:
        """What shall happen to the events of a stream that was open when the point was reached, and since when."""
        struck_at_s, kind = self._watch_struck_at_s, self._kind
        if kind is None or struck_at_s is None or opened_at_s > struck_at_s or self._is_of_bystander(path):
            return None
        return kind, struck_at_s

    def last_write_s(self) -> float:
        """When the last write came, armed or not."""
        return self._last_write_s
