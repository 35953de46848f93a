"""An extractor of our own for tar and zip: regular files only, below one fresh folder, within bounds.

Never `extractall`: links, devices, absolute names, `..`, duplicate names and lying headers have all been used against
loaders. An archive is read to its end, so that what its compression says of damage is heard.
"""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import digest, zip_directory
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import is_full

CHUNK_BYTES = 1024 * 1024
NAME_CHARS_MAX = 1024
DEPTH_MAX = 32
HEADER_BYTES_MAX = 64 * 1024
"""Of a tar's extended header, which is read into memory as a whole."""

_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def is_archive(path: Path, bounds: Bounds) -> bool:
    """Whether the content is a tar (also compressed) or a zip that is not a Keras file."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return not _is_keras_zip(path, bounds)
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or head[257:262] == b"ustar"


def _is_keras_zip(path: Path, bounds: Bounds) -> bool:
    """Whether a zip has Keras' three files at its root."""
    zip_directory.check(path, entries_max=bounds.entries_max)
    try:
        with zipfile.ZipFile(path) as archive:
            return {"config.json", "metadata.json"} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def extract(archive: Path, into: Path, bounds: Bounds) -> None:
    """Extracts into the new folder `into`; raises LoadError and leaves what it wrote for the caller to remove."""
    into.mkdir()
    _read(archive, bounds, _Folder(into))


def tree_digest(archive: Path, bounds: Bounds) -> str:
    """The digest of the folder that `extract` would make. Writes nothing; raises LoadError."""
    hashes = _Hashes()
    _read(archive, bounds, hashes)
    return digest.combine_hashes(hashes.by_name)


class _Sink(Protocol):
    """Where entries go; names are checked before."""

    def folder(self, parts: tuple[str, ...]) -> None: ...

    def file(self, parts: tuple[str, ...], chunks: Iterator[bytes]) -> None: ...


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, parts: tuple[str, ...]) -> None:
        self._root.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def file(self, parts: tuple[str, ...], chunks: Iterator[bytes]) -> None:
        target = self._root.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)


class _Hashes:
    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}

    def folder(self, parts: tuple[str, ...]) -> None:
        """Folders are no part of a digest."""

    def file(self, parts: tuple[str, ...], chunks: Iterator[bytes]) -> None:
        found = hashlib.sha256()
        for chunk in chunks:
            found.update(chunk)
        self.by_name["/".join(parts)] = found.hexdigest()


def _read(archive: Path, bounds: Bounds, sink: _Sink) -> None:
    entries = _Entries(sink, bounds, archive_bytes=archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            zip_directory.check(archive, entries_max=bounds.entries_max)
            _read_zip(archive, entries)
        elif _begins_as_zip(archive):
            text = "the file begins as a zip or .keras file but lacks its end: it was cut off; copy or save it again"
            raise LoadError(LoadReason.MODEL_CORRUPT, text)
        else:
            _read_tar(archive, entries)
    except _DAMAGED as error:
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the archive can't be read: {error}") from None
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the archive can't be extracted: {error}") from None


def _begins_as_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _read_zip(path: Path, entries: _Entries) -> None:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            kind = mode & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise _unsafe_error(info.filename, "is neither a file nor a folder")
            if info.flag_bits & 1:
                raise LoadError(LoadReason.MODEL_CORRUPT, "the archive is encrypted")
            if info.is_dir() or kind == 0o040000:
                entries.folder(info.filename)
            else:
                with archive.open(info) as source:
                    entries.file(info.filename, source)


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses headers that would be read into memory whatever their size, and sparse files, whose maps have no end."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise _unsafe_error(self.name, "is neither a file nor a folder")
        if self.type in _EXTENDED and self.size > HEADER_BYTES_MAX:
            text = f"the archive holds an extended header of {self.size} bytes; at most {HEADER_BYTES_MAX} are read"
            raise LoadError(LoadReason.MODEL_TOO_LARGE, text)
        # tarfile gives this to its subclasses to overwrite, and its type stubs don't know.
        proceed: Callable[[tarfile.TarFile], tarfile.TarInfo] = super()._proc_member  # type: ignore[misc]
        return proceed(archive)


def _read_tar(path: Path, entries: _Entries) -> None:
    with tarfile.open(path, mode="r:*", tarinfo=_BoundedTarInfo) as archive:
        for member in archive:
            if member.isdir():
                entries.folder(member.name)
            elif member.isreg() and not member.issparse():
                source = archive.extractfile(member)
                if source is not None:
                    with source:
                        entries.file(member.name, source)
            else:
                raise _unsafe_error(member.name, "is neither a file nor a folder")
        # tarfile stops at the mark of the end: before the check sum of the compression, which is behind it.
        if archive.fileobj is not None:
            entries.drain(archive.fileobj)


class _Entries:
    """Checks names and counts what entries cost; headers are not believed."""

    def __init__(self, sink: _Sink, bounds: Bounds, *, archive_bytes: int) -> None:
        self._sink = sink
        self._bounds = bounds
        self._bytes_max = min(bounds.bytes_max, max(bounds.ratio_free_bytes, archive_bytes * bounds.ratio_max))
        self._bytes = 0
        self._entries = 0
        self._names: set[str] = set()

    def folder(self, name: str) -> None:
        self._sink.folder(self._parts(name, is_folder=True))

    def file(self, name: str, source: _Readable) -> None:
        self._sink.file(self._parts(name, is_folder=False), self._chunks(source))

    def drain(self, source: _Readable) -> None:
        """Reads what is behind the last entry."""
        for _ in self._chunks(source):
            continue

    def _chunks(self, source: _Readable) -> Iterator[bytes]:
        while chunk := source.read(CHUNK_BYTES):
            self._bytes += len(chunk)
            if self._bytes > self._bytes_max:
                text = f"the archive unpacks to more than {self._bytes_max} bytes"
                raise LoadError(LoadReason.MODEL_TOO_LARGE, text)
            yield chunk

    def _parts(self, name: str, *, is_folder: bool) -> tuple[str, ...]:
        self._entries += 1
        if self._entries > self._bounds.entries_max:
            raise LoadError(
                LoadReason.MODEL_TOO_LARGE, f"the archive holds more than {self._bounds.entries_max} entries"
            )
        path = PurePosixPath(name)
        parts = path.parts
        if path.is_absolute() or ".." in parts or "\\" in name or "\0" in name or ":" in name:
            raise _unsafe_error(name, "leads out of the model's folder")
        if len(name) > NAME_CHARS_MAX or len(parts) > DEPTH_MAX:
            raise _unsafe_error(name, "is too long or too deep")
        if not digest.is_plain_name(name):
            raise _unsafe_error(name, "has control characters in its name")
        if not parts and is_folder:
            return ()
        # Compared without case: two names that differ in case alone are one file on some file systems.
        key = "/".join(parts).casefold()
        if not parts or (key in self._names and not is_folder):
            raise _unsafe_error(name, "comes twice")
        self._names.add(key)
        return parts


def _unsafe_error(name: str, why: str) -> LoadError:
    return LoadError(LoadReason.UNSAFE_MODEL, f"the archive's entry {name[:100]!r} {why}")
