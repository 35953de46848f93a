"""Notices changes of the files that the flags name: a mounted Secret is replaced under a running gateway."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from fairlead_gateway import settings

_POLL_S = 1.0

_State = tuple[int, int, int] | None


async def follow(settings_: settings.Settings, on_change: Callable[[], None]) -> None:
    """Look once a second, until cancelled. A pass reads the files itself, so a change that is not seen only waits."""
    last = tuple(_stat_files(settings_))
    while True:
        await asyncio.sleep(_POLL_S)
        found = tuple(_stat_files(settings_))
        if found != last:
            last = found
            on_change()


def _stat_files(settings_: settings.Settings) -> Iterator[_State]:
    if settings_.tls is not None:
        yield _stat(settings_.tls.certificate)
        yield _stat(settings_.tls.key)
    if settings_.api_keys is not None:
        yield _stat(settings_.api_keys)
        # The kubelet replaces this link when the Secret changes.
        yield _stat(settings_.api_keys / "..data")
    if settings_.tokens is not None:
        yield _stat(settings_.tokens.jwks)


def _stat(path: Path) -> _State:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)
