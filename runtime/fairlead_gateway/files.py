"""Files that are replaced whole."""

import os
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace a file: a reader, or a crash, sees the old or the new one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only this user may read."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)
