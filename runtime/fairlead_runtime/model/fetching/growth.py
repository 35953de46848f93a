"""Room in the cache for a file as its bytes come. A length that a server only announces removes no other model."""

from __future__ import annotations

from fairlead_runtime.model.cache import Cache

FIRST_BYTES = 64 * 1024


class Growth:
    """What one download has, and what room was made for it: twice as much as came, but no more than announced."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._came = 0
        self._room = 0
        self._announced = 0

    def expect(self, size_bytes: int) -> None:
        """So many bytes more are announced; 0 where nobody said how many."""
        self._announced = self._came + size_bytes if size_bytes else 0

    def count(self, size_bytes: int) -> None:
        """So many bytes came; fewer than 0: they come again. Raises LoadError where the disk is too small."""
        self._came += size_bytes
        if self._came <= self._room:
            return
        self._room = max(FIRST_BYTES, 2 * self._came)
        if self._announced:
            self._room = min(self._room, max(self._came, self._announced))
            self._cache.make_room(self._room, written_bytes=self._came - size_bytes)
        else:
            # Nobody knows whether the disk has to hold so many.
            self._cache.make_room(self._room, written_bytes=self._room)
