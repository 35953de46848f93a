"""Reads what replicas counted and adds it to the gateway's own counters: they outlive a replica, its own don't.

Source: docs/contracts.md, "Gateway → replica" and "Measurements".
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

import aiohttp
import pydantic

from fairlead_gateway import measurements

_log = logging.getLogger(__name__)

INTERVAL_S = 1.0
_TIMEOUT_S = 2.0
_AT_ONCE = 16
_BODY_BYTES_MAX = 256 * 1024
_GONE_S = 900.0

Count = pydantic.NonNegativeInt


class _Scores(pydantic.BaseModel):
    """One count more than bounds; both empty in a reading without scores."""

    bounds: list[float] = []
    counts: list[Count] = []

    @pydantic.model_validator(mode="after")
    def _fit(self) -> Self:
        if self.counts and len(self.counts) != len(self.bounds) + 1:
            raise ValueError("scores: counts must be one more than bounds")
        return self


class Reading(pydantic.BaseModel):
    """The body of `/-/measurements/REV`."""

    instance: str
    age_s: float = pydantic.Field(alias="ageSeconds", default=0.0, ge=0)
    shadow: dict[str, dict[str, Count]] = {}
    feedback: dict[str, dict[str, Count]] = {}
    scores: _Scores = _Scores()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a replica of a revision is up."""

    model: str
    revision: str
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
    _seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)

    def watch(self, models: Iterable[str], now_s: float) -> None:
        """These are read from now on; what a model's replicas had counted before they were watched is left out."""
        self._since_s = {model: self._since_s.get(model, now_s) for model in models}
        for key in [key for key, seen in self._seen.items() if now_s - seen.at_s > _GONE_S]:
            del self._seen[key]

    def add(self, place: Place, reading: Reading, now_s: float) -> None:
        """Add what a process counted since it was read last: all of it, where it began while its model was watched."""
        key = (place.model, reading.instance)
        seen = self._seen.get(key)
        self._seen[key] = _Seen(reading=reading, at_s=now_s)
        if seen is None and reading.age_s > now_s - self._since_s.get(place.model, now_s):
            return
        last = seen.reading if seen else Reading(instance=reading.instance)
        for name, counts in reading.shadow.items():
            self.store.add_shadow((place.model, name), _grown(counts, last.shadow.get(name, {})))
        for name, counts in reading.feedback.items():
            self.store.add_feedback((place.model, name), _grown(counts, last.feedback.get(name, {})))
        scores = reading.scores
        before = last.scores.counts if last.scores.bounds == scores.bounds else [0] * len(scores.counts)
        grown = [max(0, now - then) for now, then in zip(scores.counts, before, strict=True)]
        self.store.add_scores((place.model, place.revision), tuple(scores.bounds), grown)


def _grown(counts: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """How much each counter grew; all of it where any fell, for then the replica had forgotten them and begun anew."""
    if any(counts.get(name, 0) < value for name, value in before.items()):
        before = {}
    return {name: value - before.get(name, 0) for name, value in counts.items()}


class Scraper:
    """Reads places over HTTP, a few at a time. One that doesn't answer is read the next time."""

    def __init__(self, store: measurements.Store) -> None:
        self._fold = Fold(store)
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def scrape(self, session: aiohttp.ClientSession, places: Iterable[Place]) -> None:
        """Read each place once; of `places`, the models are those that are watched from now on."""
        wanted = list(places)
        self._fold.watch({place.model for place in wanted}, time.monotonic())
        await asyncio.gather(*(self._one(session, place) for place in wanted))

    async def _one(self, session: aiohttp.ClientSession, place: Place) -> None:
        url = f"http://{place.host}:{place.port}/-/measurements/{place.revision}"
        async with self._limit:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(url, allow_redirects=False) as answer:
                    if answer.status != 200 or (answer.content_length or 0) > _BODY_BYTES_MAX:
                        return
                    body = await answer.read()
                try:
                    reading = Reading.model_validate_json(body)
                except pydantic.ValidationError as error:
                    _log.warning("measurements unreadable model=%s port=%s error=%s", place.model, place.port, error)
                    return
                self._fold.add(place, reading, time.monotonic())


def make_session() -> aiohttp.ClientSession:
    """The client of all scrapes; the caller closes it."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=False)
