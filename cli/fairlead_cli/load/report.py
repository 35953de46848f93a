"""What a run of the counting client found: every failure, who answered, how long it took."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

EXCERPT_BYTES = 300
UNNAMED = "(none)"


class Kind(StrEnum):
    """How a request failed; the package's docstring defines each."""

    CONNECT = "connect"
    RESET = "reset"
    CUT = "cut"
    TIMEOUT = "timeout"
    STATUS = "status"
    BAD_ANSWER = "bad-answer"
    WRONG_ID = "wrong-id"


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Failure(_Wire):
    """One failed request; ``at_s`` from the run's start, ``reused`` whether its connection had served others before."""

    id: str
    kind: Kind
    at_s: float
    took_s: float
    detail: str
    status: int | None = None
    body: str = ""
    revision: str | None = None
    reused: bool = False


class Latency(_Wire):
    """Milliseconds of the successful requests, exact (nearest rank), not from buckets."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


class RevisionReport(_Wire):
    """The successful answers of one revision."""

    count: int
    first_s: float
    last_s: float
    latency: Latency


class Reconnects(_Wire):
    """Why connections were opened again. None of these is a failure by itself."""

    idle_closed: int = 0
    closed_by_answer: int = 0
    after_failure: int = 0


class Progress(_Wire):
    elapsed_s: float
    requests: int
    failed: int
    revisions: dict[str, int]


class Report(_Wire):
    """A finished run. ``requests`` is ``ok`` + ``failed``; ``longest_gap_s`` the longest time without a good answer."""

    requests: int
    ok: int
    failed: int
    elapsed_s: float
    rate: float
    longest_gap_s: float
    latency: Latency | None
    statuses: dict[str, int]
    failures_by_kind: dict[str, int]
    revisions: dict[str, RevisionReport]
    reconnects: Reconnects
    failures: tuple[Failure, ...]

    def summary(self) -> str:
        """One paragraph for a person: the counts first."""
        lines = [f"{self.failed} failed of {self.requests} requests in {self.elapsed_s:.1f} s ({self.rate:.0f}/s)"]
        if self.latency is not None:
            times = self.latency
            lines.append(f"  p50 {times.p50_ms:.2f} ms, p99 {times.p99_ms:.2f} ms, max {times.max_ms:.1f} ms")
        lines.append(f"  longest time without an answer: {self.longest_gap_s * 1000:.0f} ms")
        for name, revision in sorted(self.revisions.items(), key=lambda item: item[1].first_s):
            span = f"from {revision.first_s:.2f} to {revision.last_s:.2f} s"
            lines.append(f"  revision {name}: {revision.count} answers, {span}")
        lines += [f"  {kind}: {count}" for kind, count in self.failures_by_kind.items()]
        shown = self.failures[:10]
        lines += [f"  {failure.id} {failure.kind} at {failure.at_s:.3f} s: {failure.detail}" for failure in shown]
        if len(self.failures) > len(shown):
            lines.append(f"  … and {len(self.failures) - len(shown)} more")
        return "\n".join(lines)


@dataclass(slots=True)
class _Seen:
    first_s: float
    last_s: float = 0.0
    # Four bytes an answer: an hour at 8,000 a second is 115 MB, and quantiles stay exact.
    took_s: array[float] = field(default_factory=lambda: array("f"))


class Recorder:
    """Collects while a run goes; all times are seconds from the run's start."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._failures: list[Failure] = []
        self._statuses: Counter[str] = Counter()
        self._ok = 0
        self._last_ok_s = 0.0
        self._longest_gap_s = 0.0
        self.reconnects: Counter[str] = Counter()

    def succeeded(self, *, revision: str | None, status: int, at_s: float, took_s: float) -> None:
        name = revision or UNNAMED
        seen = self._seen.get(name)
        if seen is None:
            seen = self._seen[name] = _Seen(first_s=at_s)
        seen.last_s = at_s
        seen.took_s.append(took_s)
        self._statuses[str(status)] += 1
        self._ok += 1
        self._longest_gap_s = max(self._longest_gap_s, at_s - self._last_ok_s)
        self._last_ok_s = at_s

    def failed(self, failure: Failure) -> None:
        self._failures.append(failure)
        if failure.status is not None:
            self._statuses[str(failure.status)] += 1

    def progress(self, elapsed_s: float) -> Progress:
        return Progress(
            elapsed_s=elapsed_s,
            requests=self._ok + len(self._failures),
            failed=len(self._failures),
            revisions={name: len(seen.took_s) for name, seen in self._seen.items()},
        )

    def report(self, elapsed_s: float) -> Report:
        requests = self._ok + len(self._failures)
        every = array("f")
        for seen in self._seen.values():
            every.extend(seen.took_s)
        return Report(
            requests=requests,
            ok=self._ok,
            failed=len(self._failures),
            elapsed_s=elapsed_s,
            rate=requests / elapsed_s if elapsed_s > 0 else 0.0,
            longest_gap_s=max(self._longest_gap_s, elapsed_s - self._last_ok_s),
            latency=_latency(every) if every else None,
            statuses=dict(sorted(self._statuses.items())),
            failures_by_kind=dict(Counter(failure.kind.value for failure in self._failures)),
            revisions={name: _revision(seen) for name, seen in self._seen.items()},
            reconnects=Reconnects(**self.reconnects),
            failures=tuple(self._failures),
        )


def excerpt(body: bytes) -> str:
    """The beginning of an answer's body, printable."""
    return body[:EXCERPT_BYTES].decode("utf-8", errors="replace")


def _revision(seen: _Seen) -> RevisionReport:
    return RevisionReport(
        count=len(seen.took_s), first_s=seen.first_s, last_s=seen.last_s, latency=_latency(seen.took_s)
    )


def _latency(took_s: array[float]) -> Latency:
    ranked = sorted(took_s)
    values: dict[str, Any] = {
        f"p{percent}_ms": ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)] * 1000 for percent in (50, 90, 99)
    }
    return Latency(max_ms=ranked[-1] * 1000, **values)
