"""The API keys of clients: read from a folder, one file for each client, and kept as digests.

The folder is a mounted Secret: its keys are the names of clients, its values their API keys. No key is kept, logged or
handed to HAProxy.
"""

import dataclasses
import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger(__name__)

CLIENTS_MAX = 2000
KEYS_MAX = 4
"""Keys of one client: the new one and the old one while it is replaced, and two more."""

SHOWN_MAX = 100
"""Characters of a refused name in the log."""

KEY_CHARACTERS_MIN = 20
"""The gateway slows nobody down who guesses, so a key that a person chose must be too long for that."""

KEY_CHARACTERS_MAX = 512
_FILE_BYTES_MAX = KEYS_MAX * (KEY_CHARACTERS_MAX + 2)
_NAME = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_KEY = re.compile(rb"[!-~]+")
_FORM = f"each line must be a key of {KEY_CHARACTERS_MIN} to {KEY_CHARACTERS_MAX} ASCII characters without spaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The client of each key's SHA-256, in upper-case hexadecimal digits; None while none were ever read.

    `refused` are the clients whose file is not used, each with the reason; `error` is why the folder can't be read.
    """

    digests: Mapping[str, str] | None = None
    clients: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


def read_folder(folder: Path) -> Keys:
    """Read the files of a folder. A file that can't be used takes only its own client's access away.

    Of more than `CLIENTS_MAX` files the first by name are used: to go on with the keys before would keep those that
    were removed.

    Raises:
        OSError: when the folder can't be read.
    """
    names = sorted(each.name for each in folder.iterdir() if not each.name.startswith(".."))
    digests: dict[str, str] = {}
    refused = dict.fromkeys(names[CLIENTS_MAX:], f"at most {CLIENTS_MAX} clients are possible")
    for name in names[:CLIENTS_MAX]:
        try:
            found = list(_read_file(folder / name))
        except (OSError, ValueError) as error:
            refused[name] = str(getattr(error, "strerror", None) or error)
            continue
        owner = next((digests[digest] for digest in found if digests.get(digest, name) != name), None)
        if owner is not None:
            refused[name] = f"the client {owner} has the same key"
            continue
        digests.update(dict.fromkeys(found, name))
    return Keys(digests=digests, clients=len(set(digests.values())), refused=refused)


class Store:
    """The keys of a folder, or the last ones while it can't be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = Keys()

    def read(self) -> Keys:
        """The keys to accept now."""
        before = self._last
        try:
            self._last = read_folder(self._folder)
        except OSError as error:
            reason = f"{self._folder}: {error.strerror or error}"
            self._last = dataclasses.replace(before, error=reason)
            if before.error != reason:
                _log.error("api keys unreadable error=%s", reason)
            return self._last
        for name, reason in self._last.refused.items():
            if before.refused.get(name) != reason:
                _log.error("api keys refused client=%r reason=%s", name[:SHOWN_MAX], reason)
        if self._last.digests != before.digests:
            _log.info("api keys read clients=%d", self._last.clients)
        return self._last


def _read_file(path: Path) -> Iterator[str]:
    if _NAME.fullmatch(path.name) is None:
        raise ValueError("a client's name must be 1 to 253 letters, digits, '-', '_' and '.'")
    if not path.is_file():
        raise ValueError("must be a file")
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES_MAX + 1)
    lines = [line.strip() for line in content.splitlines() if line.strip()]
    if not 1 <= len(lines) <= KEYS_MAX or len(content) > _FILE_BYTES_MAX:
        raise ValueError(f"must have 1 to {KEYS_MAX} lines; {_FORM}")
    for line in lines:
        if not KEY_CHARACTERS_MIN <= len(line) <= KEY_CHARACTERS_MAX or _KEY.fullmatch(line) is None:
            raise ValueError(_FORM)
        yield hashlib.sha256(line).hexdigest().upper()
