"""Puts a finished file in its place: whole or not at all, whenever the machine or the command dies."""

from __future__ import annotations

import os
import pathlib
import shutil
import tarfile
import zlib
from typing import IO

from fairlead_cli.local import errors


def executable(source: IO[bytes], target: pathlib.Path) -> None:
    """Copy to a temporary name, bring it to the disk, rename it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fchmod(file.fileno(), 0o755)
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def from_archive(archive: pathlib.Path, member: str, target: pathlib.Path) -> None:
    """Install one file of a tar archive; nothing else of it is unpacked.

    Raises:
        NotThere: the archive can't be read as one, or has no such file.
    """
    try:
        with tarfile.open(archive) as opened:
            content = opened.extractfile(member)
            if content is None:
                raise errors.NotThere(f"{archive.name} has no file {member}: that name is not a plain file")
            with content:
                executable(content, target)
    except KeyError as error:
        raise errors.NotThere(f"{archive.name} has no file {member}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise errors.NotThere(f"{archive.name} can't be read as an archive: {error}") from error
