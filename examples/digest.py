"""The digest by which a manifest pins a model's content: docs/contracts.md has the rule."""

from __future__ import annotations

import hashlib
import pathlib


def hash_path(path: pathlib.Path) -> str:
    """Of a file: its bytes. Of a folder: the lines ``"<sha256>  <path>"`` of its regular files, sorted by path."""
    if path.is_file():
        return f"sha256:{_hex(path)}"
    files = sorted((entry.relative_to(path).as_posix(), entry) for entry in path.rglob("*") if entry.is_file())
    listing = "".join(f"{_hex(entry)}  {name}\n" for name, entry in files)
    return f"sha256:{hashlib.sha256(listing.encode()).hexdigest()}"


def _hex(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
