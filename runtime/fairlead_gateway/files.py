"""Files that are replaced whole."""

from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace a file: a reader, or a crash, sees the old or the new one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    temporary.replace(path)
