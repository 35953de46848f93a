"""The programs `prometheus` and `promtool`: on the PATH, else out of Debian's package, unpacked into our cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fairlead_cli.local import paths

PACKAGE = "prometheus"
PROMTOOL = "promtool"
"""It tests rules without a server; the package has both."""


class NoPrometheusError(Exception):
    """The tests that ask a real Prometheus can't run, and none of them is skipped."""


def obtain(program: str = PACKAGE) -> Path:
    """The program.

    Raises:
        NoPrometheusError: neither on the PATH nor to be had from Debian's archive; with apt's own words.
    """
    if found := shutil.which(program):
        return Path(found)
    kept = paths.cache_dir() / "bin" / "debian" / program
    if not os.access(kept, os.X_OK):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            unpacked = _unpack(Path(folder))
            for name in (PACKAGE, PROMTOOL):
                (unpacked / name).replace(kept.parent / name)
    return kept


def _unpack(folder: Path) -> Path:
    """The folder of the programs."""
    if shutil.which("apt-get") is None:
        raise NoPrometheusError(f"`{PACKAGE}` is not on the PATH, and there is no apt-get to fetch it with")
    refusal = _run(folder, "apt-get", "download", PACKAGE)
    if refusal:
        # Without lists of packages nothing is found; fetching them takes root.
        refusal = _run(folder, "apt-get", "update") or _run(folder, "apt-get", "download", PACKAGE)
    if refusal:
        raise NoPrometheusError(f"`{PACKAGE}` is not on the PATH and can't be fetched: {refusal}")
    (package,) = folder.glob("*.deb")
    refusal = _run(folder, "dpkg-deb", "-x", str(package), "unpacked")
    if refusal:
        raise NoPrometheusError(refusal)
    return folder / "unpacked" / "usr" / "bin"


def _run(folder: Path, *command: str) -> str:
    """Empty where it succeeded, else what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
