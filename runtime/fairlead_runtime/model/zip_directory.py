"""How many entries a zip has, before `ZipFile` makes an object of each."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from fairlead_runtime.errors import LoadError, LoadReason

BYTES_MAX = 16 * 1024 * 1024
_SIGNATURE = b"PK\x01\x02"  # Of an entry. Source: PKWARE APPNOTE, 4.3.12
_BEHIND_BYTES = (
    76  # What a zip64's records take between the directory and the end record. Source: the same, 4.3.14, 4.3.15
)
_SIZE, _LOCATION = 5, 9  # Of the list that zipfile reads the end record to.


def check(path: Path, *, entries_max: int) -> None:
    """Raises LoadError for more entries than that; says nothing of what is no zip."""
    with path.open("rb") as file:
        # ZipFile finds the directory by this same function, so both look at the same bytes.
        end: Any = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        if not end:
            return
        size, location = int(end[_SIZE]), int(end[_LOCATION])
        if size > BYTES_MAX:
            raise LoadError(
                LoadReason.MODEL_TOO_LARGE, f"the zip's directory has {size} bytes; at most {BYTES_MAX} are allowed"
            )
        start = max(0, location - size - _BEHIND_BYTES)
        file.seek(start)
        # Those within names and comments count as well: an honest zip has none.
        found = file.read(location - start).count(_SIGNATURE)
    if found > entries_max:
        raise LoadError(LoadReason.MODEL_TOO_LARGE, f"the zip holds more than {entries_max} entries")
