"""Assigns the configuration's empty backends ("places") to revisions. Pure.

A revision takes a free place and gives it back when nothing of it is left there. So neither a revision nor a replica
needs another configuration; only a larger pool does.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

SIZE_MIN = 64
SIZE_MAX = 8192

Key = tuple[str, str]
"""Model and revision."""


class PoolFullError(Exception):
    """More revisions than the largest pool has places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The places, 1 to `size`, and who has which. It is written to disk before it is used.

    Without the file, a restarted agent would assign the places again while requests are on their way to them.
    """

    size: int = SIZE_MIN
    places: Mapping[Key, int] = field(default_factory=dict)

    def assign(self, keys: Iterable[Key]) -> "Pool":
        """The pool in which each of these has a place: the one that it has, else a free one.

        Raises:
            PoolFullError: when there can't be so many places.
        """
        missing = sorted(set(keys) - self.places.keys())
        if not missing:
            return self
        needed = len(self.places) + len(missing)
        size = self.size
        # Ahead of need: the reload is then done before a revision waits for it.
        while needed > size * 3 // 4 and size < SIZE_MAX:
            size *= 2
        if needed > size:
            raise PoolFullError(f"{needed} revisions are more than the {SIZE_MAX} that one gateway can route")
        taken = set(self.places.values())
        free = (place for place in range(1, size + 1) if place not in taken)
        return Pool(size=size, places={**self.places, **dict(zip(missing, free, strict=False))})

    def release(self, keys: Set[Key]) -> "Pool":
        """The pool without these."""
        if not keys & self.places.keys():
            return self
        return Pool(size=self.size, places={key: place for key, place in self.places.items() if key not in keys})

    def owners(self) -> dict[int, Key]:
        """Who has which place."""
        return {place: key for key, place in self.places.items()}


def to_json(pool: Pool) -> dict[str, object]:
    """As it is kept on disk."""
    places = {f"{model}/{revision}": place for (model, revision), place in pool.places.items()}
    return {"size": pool.size, "places": places}


def from_json(data: object) -> Pool:
    """Read what `to_json` made.

    Raises:
        ValueError: when it is something else, or two have one place.
    """
    if not isinstance(data, dict) or not isinstance(data.get("size"), int) or not isinstance(data.get("places"), dict):
        raise ValueError("not an object with size and places")
    size = data["size"]
    places: dict[Key, int] = {}
    for text, place in data["places"].items():
        model, _, revision = str(text).partition("/")
        if not isinstance(place, int) or not 0 < place <= size or not model or not revision:
            raise ValueError(f"{text!r}: the place must be a number below the pool's size")
        places[model, revision] = place
    if not SIZE_MIN <= size <= SIZE_MAX or len(set(places.values())) != len(places):
        raise ValueError("two revisions have the same place, or the size is not allowed")
    return Pool(size=size, places=places)


def from_map(backend_map: Mapping[str, str], size: int) -> Pool:
    """The pool that a running HAProxy has: what it routes by is true, whatever became of the file."""
    places: dict[Key, int] = {}
    for text, value in backend_map.items():
        model, _, revision = text.partition("/")
        if revision and value.isdigit() and int(value) not in places.values():
            places[model, revision] = int(value)
    return Pool(size=max(size, SIZE_MIN), places=places)
