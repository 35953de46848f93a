"""Models on volumes that the Ray node mounts, one folder for each PersistentVolumeClaim."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.fetching.access import Access

SYSTEM_FOLDERS = tuple(map(Path, ("/dev", "/etc", "/proc", "/run/secrets", "/sys", "/var/run/secrets")))
"""Devices, settings and processes of the node, and the tokens that Kubernetes mounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path of the node without links, and where its files must be: below `root`, and below none of `closed`.

    Others may write there while it is read, so each file is checked after it was opened, by the path that it has then.
    """

    path: Path
    root: Path
    closed: Sequence[Path]

    def open_file(self, path: Path) -> BinaryIO:
        """A regular file for reading; raises LoadError for anything else. It doesn't wait at a pipe."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                raise _unsafe(f"{path} is neither a file nor a folder") from None
            raise
        file = open(handle, "rb")  # noqa: SIM115 - the caller closes it
        try:
            self._check(file.fileno(), path)
        except BaseException:
            file.close()
            raise
        return file

    def _check(self, handle: int, path: Path) -> None:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _unsafe(f"{path} is neither a file nor a folder")
        # What the kernel appends to the path of a file that was removed meanwhile. Source: proc(5)
        opened = Path(os.readlink(f"/proc/self/fd/{handle}").removesuffix(" (deleted)"))
        _check_closed(opened, path, self.closed)
        if not opened.is_relative_to(self.root):
            raise _unsafe(f"{path} was replaced by a link that leads out of {self.root}")


def find(uri: str, access: Access) -> Place:
    """The path on a claim; raises LoadError for a claim that isn't mounted, and for a path that leads out of it."""
    parts = urlsplit(uri)
    claim = parts.netloc
    if access.claims_dir is None or claim in ("", ".", "..") or not (access.claims_dir / claim).is_dir():
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND,
            f"spec.model.uri: the Ray node has no volume of the claim {claim!r}: it must be in "
            "spec.sources.volumeClaimNames of the ServingClass (FAIRLEAD_SOURCE_CLAIMS_DIR of the Ray node)",
        )
    root = (access.claims_dir / claim).resolve()
    found = (root / unquote(parts.path).lstrip("/")).resolve()
    if not found.is_relative_to(root):
        raise _unsafe(f"{uri} is a link that leads out of the claim's volume")
    return Place(path=found, root=root, closed=_closed(access))


def find_file(path: Path, access: Access, cache: Path) -> Place:
    """A path of the node; raises LoadError for what is below one of the closed folders, and for a folder that has one.

    Closed are the Secrets of the Ray node, the cache, which has other models in it, and the folders of the system.
    """
    closed, found = (*_closed(access), cache.resolve(), *SYSTEM_FOLDERS), path.resolve()
    _check_closed(found, path, closed)
    for each in closed:
        if each.is_relative_to(found):
            raise _forbidden(path, f"has {each} in it")
    return Place(path=found, root=found, closed=closed)


def _closed(access: Access) -> tuple[Path, ...]:
    return (access.secrets_dir.resolve(),) if access.secrets_dir is not None else ()


def _check_closed(found: Path, path: Path, closed: Sequence[Path]) -> None:
    for each in closed:
        if found.is_relative_to(each):
            raise _forbidden(path, f"is in {each}")


def _forbidden(path: Path, words: str) -> LoadError:
    return LoadError(
        LoadReason.MODEL_FORBIDDEN, f"spec.model.uri: {path} {words}, from which no model is read: name another folder"
    )


def _unsafe(sentence: str) -> LoadError:
    return LoadError(LoadReason.UNSAFE_MODEL, f"spec.model.uri: {sentence}")
