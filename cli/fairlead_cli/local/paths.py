"""Where the local cluster keeps things: binaries shared by all, state for each cluster."""

from __future__ import annotations

import os
import pathlib
import platform
import re
from collections.abc import Mapping

from fairlead_cli.local import errors

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def cache_dir(environment: Mapping[str, str] = os.environ) -> pathlib.Path:
    """`FAIRLEAD_CACHE`, else `fairlead` under the XDG cache folder."""
    if chosen := environment.get("FAIRLEAD_CACHE"):
        return pathlib.Path(chosen)
    return pathlib.Path(environment.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "fairlead"


def clusters_dir(environment: Mapping[str, str] = os.environ) -> pathlib.Path:
    """`FAIRLEAD_STATE`, else `fairlead/local` under the XDG state folder; one folder a cluster."""
    if chosen := environment.get("FAIRLEAD_STATE"):
        return pathlib.Path(chosen)
    return pathlib.Path(environment.get("XDG_STATE_HOME") or pathlib.Path.home() / ".local/state") / "fairlead/local"


def cluster_dir(name: str) -> pathlib.Path:
    """The folder of the local cluster of this name, which is removed with it.

    Raises:
        LocalClusterError: this is not a name but may be a path, such as `..` or nothing at all.
    """
    if _NAME.fullmatch(name) is None:
        raise errors.LocalClusterError(
            f"{name!r} is not a name of a local cluster: use up to 40 lower-case letters, digits and '-', as in demo-2"
        )
    return clusters_dir() / name


def system() -> str:
    """The operating system as Go calls it."""
    return platform.system().lower()


def architecture() -> str:
    """The processor as Go calls it."""
    machine = platform.machine().lower()
    return _ARCHITECTURES.get(machine, machine)
