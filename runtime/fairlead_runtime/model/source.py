"""Where a model comes from: fetch, verify the digest, unpack, keep in a cache that is addressed by content.

The digest is checked on our own copy, before anything parses it, so what is verified is what is loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model import archive, digest, http_fetch
from fairlead_runtime.model.bounds import Bounds

META = "meta.json"
STALE_TEMP_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A verified local copy: a file, or a folder."""

    path: Path
    digest: str


def fetch(uri: str, pinned: str | None, cache_dir: Path, bounds: Bounds) -> Fetched:
    """The content of `uri`, from the cache if the pinned one is there; raises LoadError."""
    cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(cache_dir, uri, bounds.total_s):
        _remove_stale(cache_dir)
        if pinned is not None and (known := _lookup(cache_dir, pinned)) is not None:
            return known
        work = Path(tempfile.mkdtemp(prefix="tmp-", dir=cache_dir))
        try:
            raw = work / "raw"
            _read_source(uri, raw, bounds)
            actual = digest.of_path(raw)
            digest.verify(actual, pinned)
            return _lookup(cache_dir, actual) or _store(cache_dir, work, raw, actual, bounds)
        except OSError as error:
            raise LoadError(LoadReason.FETCH_FAILED, f"the model's copy can't be written: {error.strerror}") from None
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _read_source(uri: str, into: Path, bounds: Bounds) -> None:
    scheme = urlsplit(uri).scheme
    if scheme in ("http", "https"):
        http_fetch.download(uri, into, bounds)
    elif scheme == "file":
        _copy_local(Path(unquote(urlsplit(uri).path)), into, bounds)
    else:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, f"{bare_url(uri)}: models are read from file, http and https")


def _copy_local(source: Path, into: Path, bounds: Bounds) -> None:
    try:
        if source.is_dir():
            _copy_folder(source, into, bounds)
        else:
            _copy_file(source, into, bounds.bytes_max)
    except FileNotFoundError:
        raise LoadError(LoadReason.MODEL_NOT_FOUND, f"there is no file or folder {source}") from None
    except PermissionError:
        raise LoadError(LoadReason.MODEL_FORBIDDEN, f"{source} may not be read") from None


def _copy_folder(source: Path, into: Path, bounds: Bounds) -> None:
    names = digest.list_files(source, entries_max=bounds.entries_max)
    if not names:
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the folder {source} is empty")
    left = bounds.bytes_max
    for name in names:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        left -= _copy_file(source / name, into / name, left)


def _copy_file(source: Path, into: Path, bytes_max: int) -> int:
    """Copies a regular file; returns its size. Never follows a last link, never waits at a pipe."""
    with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file, into.open("xb") as copy:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise LoadError(LoadReason.UNSAFE_MODEL, f"{source} is neither a file nor a folder")
        copied = 0
        while chunk := file.read(digest.CHUNK_BYTES):
            copied += len(chunk)
            if copied > bytes_max:
                raise LoadError(LoadReason.MODEL_TOO_LARGE, f"{source} exceeds the bound of {bytes_max} bytes")
            copy.write(chunk)
    return copied


def _store(cache_dir: Path, work: Path, raw: Path, actual: str, bounds: Bounds) -> Fetched:
    """Unpacks, syncs and renames: a reader sees the whole entry or none."""
    entry = work / "entry"
    entry.mkdir()
    if raw.is_file() and archive.is_archive(raw):
        name = "model"
        archive.extract(raw, entry / name, bounds)
    else:
        name = "model.keras" if raw.is_file() else "model"
        raw.rename(entry / name)
    meta = {"content": name, "tree": digest.of_path(entry / name)}
    (entry / META).write_text(json.dumps(meta))
    _sync(entry)
    final = _entry(cache_dir, actual)
    shutil.rmtree(final, ignore_errors=True)
    entry.rename(final)
    _sync_folder(cache_dir)
    return Fetched(path=final / name, digest=actual)


def _lookup(cache_dir: Path, wanted: str) -> Fetched | None:
    """The entry, if its content still is what was stored; a damaged one is removed."""
    entry = _entry(cache_dir, wanted)
    try:
        meta = json.loads((entry / META).read_text())
        path = entry / str(meta["content"])
        if digest.of_path(path) == meta["tree"]:
            return Fetched(path=path, digest=wanted)
    except (OSError, ValueError, KeyError, TypeError, LoadError):
        pass
    shutil.rmtree(entry, ignore_errors=True)
    return None


def _entry(cache_dir: Path, content_digest: str) -> Path:
    return cache_dir / content_digest.replace(":", "-")


@contextmanager
def _locked(cache_dir: Path, uri: str, timeout_s: float) -> Iterator[None]:
    """One fetch of a URI at a time; the lock dies with its process."""
    name = hashlib.sha256(uri.encode()).hexdigest()[:32]
    deadline = time.monotonic() + timeout_s
    with (cache_dir / f"{name}.lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LoadError(LoadReason.FETCH_FAILED, "another replica is still fetching this model") from None
                time.sleep(0.05)
        yield


def _remove_stale(cache_dir: Path) -> None:
    """Removes what a killed process left; a running one touches its folder all the time."""
    oldest = time.time() - STALE_TEMP_S
    for left in cache_dir.glob("tmp-*"):
        if left.stat().st_mtime < oldest:
            shutil.rmtree(left, ignore_errors=True)


def _sync(root: Path) -> None:
    for name in digest.list_files(root):
        with (root / name).open("rb") as file:
            os.fsync(file.fileno())
    _sync_folder(root)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
