"""Which certificates of servers are trusted."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path


def build(ca_files: Mapping[str, Path]) -> ssl.SSLContext:
    """The authorities of the system, and those in the PEM files; each file by the setting that names it.

    Raises:
        ValueError: a file holds no certificates that can be read.
    """
    context = ssl.create_default_context()
    for setting, path in ca_files.items():
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:  # also what OpenSSL says of a file that holds no certificate
            raise ValueError(
                f"{setting}: {path} holds no certificates that can be read ({error.strerror or error})"
            ) from None
    return context
