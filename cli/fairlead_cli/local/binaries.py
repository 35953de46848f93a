"""Where each binary comes from: one that is there, else the official archive, else a build; see `find`."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import subprocess
from collections.abc import Mapping, Sequence

from fairlead_cli.local import errors, paths, progress, versions

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """The binaries that were found, by name."""

    paths: Mapping[str, pathlib.Path]

    def path(self, name: str) -> pathlib.Path:
        return self.paths[name]


def version_of(name: str) -> str:
    """The version pinned for this binary, with its `v`."""
    return versions.ETCD if name == "etcd" else versions.KUBERNETES


def _reported_version(name: str, path: pathlib.Path) -> str | None:
    """What the binary says of itself, with a `v`; None when it does not run or says nothing."""
    argv = [str(path), "version", "--client"] if name == "kubectl" else [str(path), "--version"]
    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v?(\d+\.\d+\.\d+\S*)", said)
    return f"v{found.group(1)}" if found else None


def fits(name: str, path: pathlib.Path) -> bool:
    """Whether the file is this binary in a version that goes with the pinned one: same major and minor."""
    if not os.access(path, os.X_OK):
        return False
    said = _reported_version(name, path)
    return said is not None and said.split(".")[:2] == version_of(name).split(".")[:2]


def cached(name: str, cache: pathlib.Path) -> pathlib.Path:
    """Where our own copy of this binary lies, if there is one."""
    return cache / "bin" / f"{version_of(name)}-{paths.system()}-{paths.architecture()}" / name


def _existing(name: str, cache: pathlib.Path, environment: Mapping[str, str]) -> pathlib.Path | None:
    # 1. What the person points at: taken as it is, whatever its version.
    if assets := environment.get("KUBEBUILDER_ASSETS"):
        given = pathlib.Path(assets) / name
        if os.access(given, os.X_OK):
            return given
    # 2. What we fetched or built before: complete, for it was renamed into its place.
    own = cached(name, cache)
    if os.access(own, os.X_OK):
        return own
    # 3. What the system has, if it says that it is of a version that fits.
    for folder in environment.get("PATH", "").split(os.pathsep):
        candidate = pathlib.Path(folder) / name
        if folder and fits(name, candidate):
            return candidate
    return None


def find(
    names: Sequence[str],
    *,
    cache: pathlib.Path,
    reporter: progress.Reporter,
    environment: Mapping[str, str] = os.environ,
) -> Binaries:
    """Get a path for each name, fetching or building what is not there.

    Raises:
        LocalClusterError: no source has it.
    """
    found = {name: path for name in names if (path := _existing(name, cache, environment)) is not None}
    for name in names:
        if name not in found:
            raise errors.LocalClusterError(f"{name} {version_of(name)} was not found")
    return Binaries(paths=found)
