"""The directory's answer, and waiting for another one. Lives on the directory's loop."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from fairlead_runtime.discovery import entry
from fairlead_runtime.discovery.entry import Entry
from fairlead_runtime.discovery.folder import FolderError, Reader

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 0.02
READ_EVERY_S = 0.1
READ_SHARE = 0.05
"""Reading every file's lock takes at most this share of a processor, however many files there are."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A body and its version: the same version is the same body, whichever process of the node answers."""

    version: str
    body: bytes


class Watch:
    """Reads the folder while a request waits for a change, and for each request."""

    def __init__(
        self, cluster: str, reader: Reader, *, own_name: Callable[[], str | None], restore: Callable[[], None]
    ) -> None:
        """`own_name` gives this process's replica while its file should be there; `restore` writes that file again."""
        self._cluster = cluster
        self._reader = reader
        self._own_name = own_name
        self._restore = restore
        self._answer: Answer | None = None
        self._read_at_s = float("-inf")
        self._read_took_s = 0.0
        self._is_stopping = False

    def stop(self) -> None:
        """Who waits gets an answer now."""
        self._is_stopping = True

    def look(self) -> Answer:
        """The answer as of now; raises FolderError when it isn't known."""
        began_s = time.monotonic()
        pause_s = max(READ_EVERY_S, self._read_took_s / READ_SHARE)
        if self._answer is not None and began_s - self._read_at_s < pause_s and not self._reader.has_changed():
            return self._answer
        self._answer = None
        entries = self._reader.read()
        if not self._has_own(entries):
            # Somebody removed files of living replicas: the listing without this one isn't the node's.
            self._restore()
            entries = self._reader.read()
            if not self._has_own(entries):
                raise FolderError("the file of the replica that answers is not in the folder")
        self._answer = _render(self._cluster, entries)
        self._read_at_s, self._read_took_s = began_s, time.monotonic() - began_s
        return self._answer

    async def wait(self, since: str | None, wait_s: float) -> Answer | None:
        """The answer once it is another than `since`; None when it is still that one after `wait_s`."""
        deadline_s = time.monotonic() + wait_s
        while True:
            answer = self.look()
            if answer.version != since:
                return answer
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or self._is_stopping:
                return None
            await asyncio.sleep(min(LOOK_EVERY_S, left_s))

    def _has_own(self, entries: tuple[Entry, ...]) -> bool:
        name = self._own_name()
        return name is None or any(each.replica.name == name for each in entries)


def _render(cluster: str, entries: tuple[Entry, ...]) -> Answer:
    version = hashlib.sha256(entry.answer(cluster, entries, version="")).hexdigest()[:16]
    return Answer(version, entry.answer(cluster, entries, version=version))
