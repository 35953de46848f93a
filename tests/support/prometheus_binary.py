"""The programs `prometheus` and `promtool`: on the PATH, else out of Debian's package, unpacked into our cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.support import debian_packages

from fairlead_cli.local import paths

PACKAGE = "prometheus"
PROMTOOL = "promtool"
"""It tests rules without a server; the package has both."""


def obtain(program: str = PACKAGE) -> Path:
    """The program.

    Raises:
        NoPackageError: neither on the PATH nor to be had from Debian's archive; with apt's own words.
    """
    if found := shutil.which(program):
        return Path(found)
    kept = paths.cache_dir() / "bin" / "debian" / program
    if not os.access(kept, os.X_OK):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            unpacked = debian_packages.unpack([PACKAGE], Path(folder)) / "usr" / "bin"
            for name in (PACKAGE, PROMTOOL):
                (unpacked / name).replace(kept.parent / name)
    return kept
