"""What a client shows to a gateway, and which certificates of a gateway it accepts.

A key or a token is read from a file or a variable and is never an argument: arguments of a process are readable by
every user of its machine.
"""

from __future__ import annotations

import pathlib
import re
import ssl
from collections.abc import Mapping

KEY_VARIABLE = "FAIRLEAD_API_KEY"
TOKEN_VARIABLE = "FAIRLEAD_TOKEN"  # noqa: S105 - the name of a variable
CA_VARIABLE = "FAIRLEAD_CA_FILE"

KEY_BYTES_MAX = 16_384
"""Far above the longest API key and the longest token; what is larger is another file."""

_KEY = re.compile(r"[!-~]+")


class AccessError(Exception):
    """A key, a token or a certificate can't be used; the message is a whole sentence without the key."""


def read_api_key(file: pathlib.Path | None, environment: Mapping[str, str]) -> str | None:
    """The key of ``file``, else of the variable ``FAIRLEAD_API_KEY``; None where neither is set.

    Raises:
        AccessError: the file can't be read, or one of them holds something else than one line without spaces.
    """
    return _read("API key", file, KEY_VARIABLE, environment)


def read_credential(
    key_file: pathlib.Path | None, token_file: pathlib.Path | None, environment: Mapping[str, str]
) -> str | None:
    """The API key or the token: of a file, else of the variable ``FAIRLEAD_TOKEN`` or ``FAIRLEAD_API_KEY``.

    Raises:
        AccessError: both are set, in files or in variables, or the one that is set can't be used.
    """
    if key_file is not None and token_file is not None:
        raise AccessError("A request has an API key or a token: give --api-key-file or --token-file, not both.")
    if key_file is not None:
        return read_api_key(key_file, environment)
    if token_file is None and KEY_VARIABLE in environment:
        if TOKEN_VARIABLE in environment:
            raise AccessError(f"A request has an API key or a token: set {KEY_VARIABLE} or {TOKEN_VARIABLE}, not both.")
        return read_api_key(None, environment)
    return _read("token", token_file, TOKEN_VARIABLE, environment)


def build_headers(key: str | None) -> dict[str, str]:
    """The header that a request carries; none without a key."""
    return {} if key is None else {"authorization": f"Bearer {key}"}


def build_trust(url: str, ca_file: pathlib.Path | None) -> ssl.SSLContext | None:
    """What decides whether the certificate of ``url`` is accepted; None where the URL is not https.

    With ``ca_file`` only the certificates in it are trusted, otherwise those of the system.

    Raises:
        AccessError: the file can't be used, or belongs to a URL without TLS: its user expects that nobody reads along.
    """
    if not url.startswith("https://"):
        if ca_file is not None:
            raise AccessError(f"A CA file is for https alone, and the gateway's URL is {url}.")
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an ssl.SSLError is one
        raise AccessError(f"The CA file {ca_file} must hold certificates in PEM form: {error}") from error


def _read(what: str, file: pathlib.Path | None, variable: str, environment: Mapping[str, str]) -> str | None:
    if file is None:
        text = environment.get(variable)
        return None if text is None else _check(what, text, f"The variable {variable}")
    try:
        with file.open("rb") as opened:
            content = opened.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise AccessError(f"The {what} can't be read: {error}") from error
    if len(content) > KEY_BYTES_MAX:
        raise AccessError(f"The file {file} must hold one {what}; it has more than {KEY_BYTES_MAX} bytes.")
    # Every byte is a character of latin-1, so the form alone decides.
    return _check(what, content.decode("latin-1"), f"The file {file}")


def _check(what: str, text: str, where: str) -> str:
    found = text.strip()
    if _KEY.fullmatch(found) is None:
        raise AccessError(f"{where} must hold one {what}: one line of ASCII characters without spaces.")
    return found
