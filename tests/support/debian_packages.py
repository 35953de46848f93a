"""Debian packages that are unpacked into a folder, not installed: programs which only tests need."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


class NoPackageError(Exception):
    """The tests that need the program can't run, and none of them is skipped."""


def unpack(packages: Sequence[str], folder: Path) -> Path:
    """The folder below which the packages' files are.

    Raises:
        NoPackageError: they can't be had from Debian's archive; with apt's own words.
    """
    if shutil.which("apt-get") is None:
        raise NoPackageError(f"there is no apt-get to fetch {', '.join(packages)} with")
    refusal = _run(folder, "apt-get", "download", *packages)
    if refusal:
        # Without lists of packages nothing is found; fetching them takes root.
        refusal = _run(folder, "apt-get", "update") or _run(folder, "apt-get", "download", *packages)
    for package in sorted(folder.glob("*.deb")):
        refusal = refusal or _run(folder, "dpkg-deb", "-x", str(package), "unpacked")
    if refusal:
        raise NoPackageError(refusal)
    return folder / "unpacked"


def _run(folder: Path, *command: str) -> str:
    """Empty where it succeeded, else what it said."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{' '.join(command)}: {done.stderr.strip() or done.returncode}"
