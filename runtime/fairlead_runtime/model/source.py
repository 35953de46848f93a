"""Where a model comes from: fetch, verify the digest, unpack, keep in a cache that is addressed by content.

The digest is checked on our own copy, before anything parses it, so what is verified is what is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from fairlead_runtime.errors import LoadError, LoadReason, bare_url
from fairlead_runtime.model import archive, digest, http_fetch
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched, is_full, sync
from fairlead_runtime.model.fetching import allowance, growth, hub, mlflow, oci, store_process, tree, volume
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.allowance import Allowance

SCHEMES = ("file", "http", "https", *store_process.SCHEMES, "hf", "models", "oci", "pvc")
FOLDER, FILE, PACKED = "model", "model.keras", "archive"


def fetch(uri: str, pinned: str | None, cache: Cache, bounds: Bounds, *, access: Access | None = None) -> Fetched:
    """The content of `uri`, from the cache if the pinned one is there; raises LoadError.

    Without an `access` only public addresses are asked, and none with credentials.
    """
    wanted = _Wanted(uri=uri, pinned=pinned, access=access or Access())
    wanted.access.check_scheme(uri)  # also for content that is in the cache
    try:
        with cache.exclusive(f"{wanted.access.endpoint or ''} {uri}", bounds.total_s):
            known = _find(pinned, cache, bounds) if pinned is not None else None
            if known is None:
                with cache.scratch_folder() as work:
                    known = _fetch_into(work, wanted, cache, bounds)
            cache.make_room(0)
            return known
    except OSError as error:
        if is_full(error):
            raise cache.disk_full_error("more") from None
        raise LoadError(LoadReason.FETCH_FAILED, f"the model's copy can't be written: {error.strerror}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    uri: str
    pinned: str | None
    access: Access


def _find(wanted: str, cache: Cache, bounds: Bounds) -> Fetched | None:
    return cache.find(wanted, lambda entry: _content(entry, wanted, bounds))


def _content(entry: Path, wanted: str, bounds: Bounds) -> Path | None:
    """The content in a cache's folder, if it is what the digest says; raises what reading it raises.

    Nothing else in the folder is believed: a model is a program, and each of this node's may write there.
    """
    packed, file, folder = entry / PACKED, entry / FILE, entry / FOLDER
    if packed.exists():
        is_whole = digest.hash_path(packed) == wanted and archive.is_archive(packed, bounds)
        return folder if is_whole and digest.hash_path(folder) == archive.tree_digest(packed, bounds) else None
    content = file if file.exists() else folder
    return content if digest.hash_path(content) == wanted else None


def _fetch_into(work: Path, wanted: _Wanted, cache: Cache, bounds: Bounds) -> Fetched:
    raw = work / "raw"
    with allowance.starting(bounds) as allowed:
        cache.with_room(lambda: _read_source(wanted, raw, cache, allowed), raw)
    actual = digest.hash_path(raw)
    digest.verify(actual, wanted.pinned)
    return _find(actual, cache, bounds) or _store(work, raw, actual, cache, bounds)


def _read_source(wanted: _Wanted, into: Path, cache: Cache, allowed: Allowance) -> None:
    uri, access, bounds = wanted.uri, wanted.access, allowed.bounds
    try:
        scheme, path = urlsplit(uri).scheme, unquote(urlsplit(uri).path)
        if scheme in ("http", "https"):
            _read_web(wanted, into, cache, allowed)
        elif scheme in store_process.SCHEMES:
            store_process.download(uri, into, allowed, access, cache)
        elif scheme == "hf":
            hub.download(uri, into, allowed, access, expect=cache.make_room)
        elif scheme == "oci":
            oci.download(uri, into, allowed, access, expect=cache.make_room)
        elif scheme == "models":
            mlflow.download(uri, into, allowed, access, cache)
        elif scheme == "pvc":
            _copy_local(volume.find(uri, access), into, cache, bounds)
        elif scheme == "file":
            _copy_local(volume.find_file(Path(path), access, cache.root), into, cache, bounds)
        else:
            raise LoadError(
                LoadReason.MODEL_NOT_FOUND,
                f"{bare_url(uri)}: the URI's scheme must be one of {', '.join(SCHEMES)}",
            )
    except ValueError as error:
        # What a library says of an address that it can't write, like one with a null byte.
        raise LoadError(LoadReason.MODEL_NOT_FOUND, f"{bare_url(uri)} is not a valid URI of a model: {error}") from None


def _read_web(wanted: _Wanted, into: Path, cache: Cache, allowed: Allowance) -> None:
    transfer, room = tree.Transfer(allowed), growth.Growth(cache)

    def count(size_bytes: int) -> None:
        transfer.count(size_bytes)
        room.count(size_bytes)

    listener = http_fetch.Listener(expect=room.expect, count=count)
    http_fetch.download(wanted.uri, into, allowed, wanted.access, listener)


def _copy_local(place: volume.Place, into: Path, cache: Cache, bounds: Bounds) -> None:
    try:
        if place.path.is_dir():
            _copy_folder(place, into, cache, bounds)
        else:
            _make_room(place.path.stat().st_size, cache, bounds)
            _copy_file(place, place.path, into, bounds.bytes_max)
    except (FileNotFoundError, NotADirectoryError):
        raise LoadError(
            LoadReason.MODEL_NOT_FOUND, f"there is no file or folder {place.path}: correct spec.model.uri"
        ) from None
    except PermissionError:
        raise LoadError(LoadReason.MODEL_FORBIDDEN, f"{place.path}: permission denied") from None


def _make_room(size_bytes: int, cache: Cache, bounds: Bounds) -> None:
    """For what will be refused as too large, nothing is removed."""
    if size_bytes <= bounds.bytes_max:
        cache.make_room(size_bytes)


def _copy_folder(place: volume.Place, into: Path, cache: Cache, bounds: Bounds) -> None:
    names = digest.list_files(place.path, entries_max=bounds.entries_max)
    if not names:
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the folder {place.path} is empty: let spec.model.uri name a model")
    _make_room(sum((place.path / name).lstat().st_size for name in names), cache, bounds)
    left = bounds.bytes_max
    for name in names:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        left -= _copy_file(place, place.path / name, into / name, left)


def _copy_file(place: volume.Place, source: Path, into: Path, bytes_max: int) -> int:
    """Copies a regular file of the place; returns its size."""
    with place.open_file(source) as file, into.open("xb") as copy:
        copied = 0
        while chunk := file.read(digest.CHUNK_BYTES):
            copied += len(chunk)
            if copied > bytes_max:
                raise LoadError(LoadReason.MODEL_TOO_LARGE, f"{source} is larger than the limit of {bytes_max} bytes")
            copy.write(chunk)
    return copied


def _store(work: Path, raw: Path, actual: str, cache: Cache, bounds: Bounds) -> Fetched:
    """Unpacks, syncs and publishes. An archive stays beside its content: only it can be held to the digest."""
    entry = work / "entry"
    entry.mkdir()
    if raw.is_file() and archive.is_archive(raw, bounds):
        content = entry / FOLDER
        cache.with_room(lambda: archive.extract(raw, content, bounds), content)
        raw.rename(entry / PACKED)
    else:
        content = entry / (FILE if raw.is_file() else FOLDER)
        raw.rename(content)
    sync(entry)
    return cache.publish(entry, content.name, actual)
