"""Reads what replicas counted and adds it to the gateway's own counters: they outlive a replica, its own don't.

Source: docs/contracts.md, "Gateway → replica" and "Measurements".
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Annotated, Self

import aiohttp
import pydantic

from fairlead_gateway import measurements, metrics, routes

_log = logging.getLogger(__name__)

INTERVAL_S = 1.0
_TIMEOUT_S = 2.0
_AT_ONCE = 128
_AT_ONCE_OF_A_MODEL = 4
"""So that replicas of one model that never answer hold up none of another."""

_BODY_BYTES_MAX = 256 * 1024
_GONE_S = 900.0
_PROCESSES_MAX = 4
"""Processes remembered at one place: a replica that takes another name at each reading would fill the memory."""

_REVISIONS_MAX = 64
_BOUNDS_MAX = 256
_COUNT_MAX = 1 << 53

Count = Annotated[int, pydantic.Field(ge=0, le=_COUNT_MAX)]
Counts = Annotated[dict[routes.RevisionName, dict[str, Count]], pydantic.Field(max_length=_REVISIONS_MAX)]
Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]


class _Scores(pydantic.BaseModel):
    """One count more than bounds, which grow; both empty in a reading without scores."""

    bounds: Annotated[list[Number], pydantic.Field(max_length=_BOUNDS_MAX)] = []
    counts: Annotated[list[Count], pydantic.Field(max_length=_BOUNDS_MAX + 1)] = []

    @pydantic.model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.counts or self.bounds) and len(self.counts) != len(self.bounds) + 1:
            raise ValueError("scores: counts must be one more than bounds")
        if any(low >= high for low, high in itertools.pairwise(self.bounds)):
            raise ValueError("scores: bounds must be in ascending order")
        return self


class Reading(pydantic.BaseModel):
    """The body of `/-/measurements/<replica name>`. A replica runs a tenant's model: nothing in it is trusted."""

    instance: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=64)]
    age_s: Number = pydantic.Field(alias="ageSeconds", default=0.0, ge=0)
    shadow: Counts = {}
    feedback: Counts = {}
    scores: _Scores = _Scores()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a replica of a revision is up; it answers to its name only."""

    model: str
    revision: str
    replica: str
    host: str
    port: int


@dataclass(slots=True, kw_only=True)
class _Seen:
    reading: Reading
    at_s: float


@dataclass(slots=True)
class Fold:
    """Turns readings of processes that come and go into differences. Pure but for the clock that it is handed."""

    store: measurements.Store
    _since_s: dict[str, float] = field(default_factory=dict)
    _seen: dict[Place, dict[str, _Seen]] = field(default_factory=dict)

    def watch(self, models: Iterable[str], now_s: float) -> None:
        """These are read from now on; what a model's replicas had counted before they were watched is left out."""
        self._since_s = {model: self._since_s.get(model, now_s) for model in models}
        for place, processes in list(self._seen.items()):
            kept = {name: seen for name, seen in processes.items() if now_s - seen.at_s <= _GONE_S}
            self._seen[place] = kept
            if not kept:
                del self._seen[place]

    def add(self, place: Place, reading: Reading, now_s: float) -> None:
        """Add what a process counted since it was read last: all of it, where it began while its model was watched."""
        processes = self._seen.setdefault(place, {})
        seen = processes.pop(reading.instance, None)
        processes[reading.instance] = _Seen(reading=reading, at_s=now_s)
        if len(processes) > _PROCESSES_MAX:
            del processes[next(iter(processes))]
        if seen is None and reading.age_s > now_s - self._since_s.get(place.model, now_s):
            return
        last = seen.reading if seen else Reading(instance=reading.instance)
        for name, counts in reading.shadow.items():
            self.store.add_shadow((place.model, name), _growth(counts, last.shadow.get(name, {})))
        for name, counts in reading.feedback.items():
            self.store.add_feedback((place.model, name), _growth(counts, last.feedback.get(name, {})))
        scores = reading.scores
        before = last.scores.counts if last.scores.bounds == scores.bounds else [0] * len(scores.counts)
        grown = [max(0, now - then) for now, then in zip(scores.counts, before, strict=True)]
        self.store.add_scores((place.model, place.revision), tuple(scores.bounds), grown)


def _growth(counts: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """The growth of each counter. If any counter fell, the replica was restarted, and all of its counts are new."""
    if any(counts.get(name, 0) < value for name, value in before.items()):
        before = {}
    return {name: value - before.get(name, 0) for name, value in counts.items()}


def _ignore() -> None:
    """Nobody listens."""


class Scraper:
    """Reads places over HTTP, a few at a time. One that doesn't answer is read the next time.

    Each model has its own round: replicas that never answer delay the reading of no other model.
    """

    def __init__(self, counted: metrics.Metrics, *, begun: Callable[[], None] = _ignore) -> None:
        self._metrics = counted
        self._note_begun = begun
        self._fold = Fold(counted.measured)
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._refused: dict[Place, str] = {}
        self._rounds: dict[str, asyncio.Task[None]] = {}
        self._begun: set[str] = set()

    @property
    def begun(self) -> Set[str]:
        """The models whose replicas were all read, or failed to answer, once since they are watched."""
        return self._begun

    def start(self, session: aiohttp.ClientSession, places: Mapping[str, Iterable[Place]]) -> None:
        """Start to read the places of each model once; its keys are the models that are watched from now on.

        A model whose last round goes on is left out; the round of a model that is no longer watched ends.
        """
        found = {model: list(each) for model, each in places.items()}
        self._fold.watch(found, time.monotonic())
        self._begun &= found.keys()
        every = {place for each in found.values() for place in each}
        self._refused = {place: reason for place, reason in self._refused.items() if place in every}
        for model in self._rounds.keys() - found.keys():
            self._rounds.pop(model).cancel()
        self._rounds = {model: task for model, task in self._rounds.items() if not task.done()}
        for model, each in found.items():
            if model not in self._rounds:
                self._rounds[model] = asyncio.create_task(self._read_model(session, model, each))

    async def aclose(self) -> None:
        """End what is being read."""
        for task in self._rounds.values():
            task.cancel()
        await asyncio.gather(*self._rounds.values(), return_exceptions=True)

    async def _read_model(self, session: aiohttp.ClientSession, model: str, places: Iterable[Place]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE_OF_A_MODEL)
        await asyncio.gather(*(self._scrape_replica(session, place, limit) for place in places))
        if model not in self._begun:
            self._begun.add(model)
            self._note_begun()

    def take(self, place: Place, body: bytes) -> None:
        """Add what a place answered, whatever it is: an odd answer is counted, logged once, and left out."""
        try:
            self._fold.add(place, Reading.model_validate_json(body), time.monotonic())
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            self._refuse(place, f"{'.'.join(str(part)[:64] for part in first['loc'])}: {first['msg'][:200]}")
        except Exception as error:  # noqa: BLE001 - one place's answer must not end the reading of the others
            self._refuse(place, f"{type(error).__name__}: {str(error)[:200]}")
        else:
            self._refused.pop(place, None)

    async def _scrape_replica(
        self, session: aiohttp.ClientSession, place: Place, of_the_model: asyncio.Semaphore
    ) -> None:
        host = f"[{place.host}]" if ":" in place.host else place.host
        url = f"http://{host}:{place.port}/-/measurements/{place.replica}"
        async with of_the_model, self._limit:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                async with session.get(url, allow_redirects=False) as answer:
                    if answer.status != 200:
                        return
                    body = await _read(answer.content)
                if body is None:
                    self._refuse(place, f"the answer is longer than {_BODY_BYTES_MAX} bytes")
                else:
                    self.take(place, body)

    def _refuse(self, place: Place, reason: str) -> None:
        self._metrics.count_unreadable_measurements()
        if self._refused.get(place) != reason:
            self._refused[place] = reason
            _log.warning("measurements refused model=%s replica=%s reason=%r", place.model, place.replica, reason)


async def _read(content: aiohttp.StreamReader) -> bytes | None:
    """The whole answer; None when it is too long."""
    body = b""
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            return None
    return body


def make_session() -> aiohttp.ClientSession:
    """The client of all scrapes; the caller closes it.

    What is compressed stays so, and is refused: unpacked, a small answer may be of any size.
    """
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    return aiohttp.ClientSession(timeout=timeout, trust_env=False, auto_decompress=False)
