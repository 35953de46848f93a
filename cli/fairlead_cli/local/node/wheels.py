"""A part of Fairlead's wheel: an image holds what it runs, and is built again only when that changes."""

from __future__ import annotations

import base64
import configparser
import hashlib
import io
import pathlib
import zipfile
from collections.abc import Mapping, Sequence

# Zip files begin with this year; a file's own time would make equal content unequal.
_TIME = (1980, 1, 1, 0, 0, 0)


def reduce(wheel: pathlib.Path, packages: Sequence[str], target: pathlib.Path) -> None:
    """Write a wheel of these packages and their programs alone, without the project's description; its name stays.

    Source: Python Packaging User Guide, "Binary distribution format".
    """
    with zipfile.ZipFile(wheel) as source:
        content = {each: source.read(each) for each in source.namelist() if _is_kept(each, packages)}
    for name in list(content):
        if name.endswith(".dist-info/METADATA"):
            content[name] = content[name].partition(b"\n\n")[0] + b"\n"
        elif name.endswith(".dist-info/entry_points.txt"):
            content[name] = _programs(content[name].decode(), packages)
        elif name.endswith(".dist-info/RECORD"):
            record = name
    content[record] = _record(content, record)
    with zipfile.ZipFile(target, "w") as made:
        for name, data in sorted(content.items()):
            made.writestr(zipfile.ZipInfo(name, _TIME), data)


def _is_kept(name: str, packages: Sequence[str]) -> bool:
    first = name.partition("/")[0]
    return first in packages or first.endswith(".dist-info")


def _programs(text: str, packages: Sequence[str]) -> bytes:
    kept = configparser.ConfigParser()
    kept.read_string(text)
    for section in kept.sections():
        for name, place in kept.items(section):
            if place.partition(".")[0] not in packages:
                kept.remove_option(section, name)
    written = io.StringIO()
    kept.write(written)
    return written.getvalue().encode()


def _record(content: Mapping[str, bytes], record: str) -> bytes:
    lines = []
    for name, data in sorted(content.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},," if name == record else f"{name},sha256={digest},{len(data)}")
    return ("\n".join(lines) + "\n").encode()
