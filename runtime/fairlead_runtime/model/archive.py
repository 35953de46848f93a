"""An extractor of our own for tar and zip: regular files only, below one fresh folder, within bounds.

Never `extractall`: links, devices, absolute names, `..`, duplicate names and lying headers have all been used against
loaders.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import is_full

CHUNK_BYTES = 1024 * 1024
NAME_CHARS_MAX = 1024
DEPTH_MAX = 32


def is_archive(path: Path) -> bool:
    """Whether the content is a tar (also compressed) or a zip that is not a Keras file."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return not is_keras_zip(path)
    return head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")) or head[257:262] == b"ustar"


def is_keras_zip(path: Path) -> bool:
    """Whether a zip has Keras' three files at its root."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"config.json", "metadata.json"} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def extract(archive: Path, into: Path, bounds: Bounds) -> None:
    """Extracts into the new folder `into`; raises LoadError and leaves what it wrote for the caller to remove."""
    into.mkdir()
    writer = _Writer(into, bounds, archive_bytes=archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            _extract_zip(archive, writer)
        else:
            _extract_tar(archive, writer)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the archive can't be read: {error}") from None
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and is_full(error):
            raise
        raise LoadError(LoadReason.MODEL_CORRUPT, f"the archive can't be extracted: {error}") from None


def _extract_zip(path: Path, writer: _Writer) -> None:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            kind = mode & 0o170000
            if kind not in (0, 0o100000, 0o040000):
                raise _unsafe(info.filename, "is neither a file nor a folder")
            if info.flag_bits & 1:
                raise LoadError(LoadReason.MODEL_CORRUPT, "the archive is encrypted")
            if info.is_dir() or kind == 0o040000:
                writer.folder(info.filename)
            else:
                with archive.open(info) as source:
                    writer.file(info.filename, source)


def _extract_tar(path: Path, writer: _Writer) -> None:
    with tarfile.open(path, mode="r:*") as archive:
        for member in archive:
            if member.isdir():
                writer.folder(member.name)
            elif member.isreg() and not member.issparse():
                source = archive.extractfile(member)
                if source is not None:
                    with source:
                        writer.file(member.name, source)
            else:
                raise _unsafe(member.name, "is neither a file nor a folder")


class _Writer:
    """Writes entries below one folder and counts what they cost; headers are not believed."""

    def __init__(self, root: Path, bounds: Bounds, *, archive_bytes: int) -> None:
        self._root = root
        self._bounds = bounds
        self._bytes_max = min(bounds.bytes_max, max(bounds.ratio_free_bytes, archive_bytes * bounds.ratio_max))
        self._bytes = 0
        self._entries = 0
        self._names: set[str] = set()

    def folder(self, name: str) -> None:
        self._target(name, is_folder=True).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, source: IO[bytes]) -> None:
        target = self._target(name, is_folder=False)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while chunk := source.read(CHUNK_BYTES):
                self._bytes += len(chunk)
                if self._bytes > self._bytes_max:
                    text = f"the archive unpacks to more than {self._bytes_max} bytes"
                    raise LoadError(LoadReason.MODEL_TOO_LARGE, text)
                file.write(chunk)

    def _target(self, name: str, *, is_folder: bool) -> Path:
        self._entries += 1
        if self._entries > self._bounds.entries_max:
            raise LoadError(
                LoadReason.MODEL_TOO_LARGE, f"the archive holds more than {self._bounds.entries_max} entries"
            )
        path = PurePosixPath(name)
        parts = path.parts
        if path.is_absolute() or ".." in parts or "\\" in name or "\0" in name or ":" in name:
            raise _unsafe(name, "leads out of the model's folder")
        if len(name) > NAME_CHARS_MAX or len(parts) > DEPTH_MAX:
            raise _unsafe(name, "is too long or too deep")
        if not parts and is_folder:
            return self._root
        # Compared without case: two names that differ in case alone are one file on some file systems.
        key = "/".join(parts).casefold()
        if not parts or (key in self._names and not is_folder):
            raise _unsafe(name, "comes twice")
        self._names.add(key)
        return self._root.joinpath(*parts)


def _unsafe(name: str, why: str) -> LoadError:
    return LoadError(LoadReason.UNSAFE_MODEL, f"the archive's entry {name[:100]!r} {why}")
