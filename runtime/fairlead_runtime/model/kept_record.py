"""Reads a record that a child process left in the node's cache."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

R = TypeVar("R", bound=BaseModel)


def read(path: Path, kind: type[R], *, bytes_max: int) -> R | None:
    """None for what is larger than `bytes_max` or no record of this kind.

    Raises:
        OSError: when the file can't be read.
    """
    with path.open("rb") as file:
        text = file.read(bytes_max + 1)
    try:
        return kind.model_validate_json(text) if len(text) <= bytes_max else None
    except ValidationError:
        return None
