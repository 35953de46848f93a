"""The identity of a model's content, as docs/contracts.md defines it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from fairlead_runtime.errors import LoadError, LoadReason

CHUNK_BYTES = 1024 * 1024


def hash_path(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes, or of the list of a folder's files."""
    return hash_folder(path) if path.is_dir() else f"sha256:{hash_file(path)}"


def hash_folder(root: Path) -> str:
    """SHA-256 over a line of hash, two spaces and path for each regular file, sorted by path."""
    return combine_hashes({name: hash_file(root / name) for name in list_files(root)})


def combine_hashes(by_name: Mapping[str, str]) -> str:
    """The digest of a folder, from the name and SHA-256 (hexadecimal) of each file."""
    lines = (f"{by_name[name]}  {name}\n" for name in sorted(by_name))
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(root: Path, *, entries_max: int = 10_000) -> list[str]:
    """Paths with `/` of all files under `root`; anything that is neither file nor folder is refused."""
    found: list[str] = []
    for folder, names, files in os.walk(root, followlinks=False):
        for name in (*names, *files):
            full = Path(folder, name)
            if not is_plain_name(name):
                text = f"the model's folder holds {name[:100]!r}, whose name has control characters"
                raise LoadError(LoadReason.UNSAFE_MODEL, text)
            mode = full.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(full.relative_to(root).as_posix())
            elif not stat.S_ISDIR(mode):
                inside = full.relative_to(root).as_posix()
                text = f"the model's folder holds {inside!r}, which is neither a file nor a folder"
                raise LoadError(LoadReason.UNSAFE_MODEL, text)
        if len(found) > entries_max:
            raise LoadError(LoadReason.MODEL_TOO_LARGE, f"the model's folder holds more than {entries_max} files")
    return found


def is_plain_name(name: str) -> bool:
    """Whether a name can stand in a line of text: with a line break, two folders could have one digest."""
    return not any(c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in name)


def verify(actual: str, pinned: str | None) -> None:
    """Raises LoadError (DigestMismatch) if the content is not the pinned one."""
    if pinned is not None and actual != pinned:
        text = (
            f"the content has the digest {actual}, but this revision is pinned to {pinned} (by spec.model.digest or "
            "by its first replica). Restore the content, or roll out the new content with another spec.model.uri or "
            "version"
        )
        raise LoadError(LoadReason.DIGEST_MISMATCH, text)
