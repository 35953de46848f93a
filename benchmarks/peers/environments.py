"""An environment for each server: a virtual environment in the cache folder, made at first use from pinned packages."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peer import Peer

from fairlead_cli.local import paths

REQUIREMENTS = Path(__file__).parent / "requirements"


class CannotInstall(Exception):
    """The packages of a server can't be installed here; the text is the installer's last lines."""


def folder() -> Path:
    """Where environments and models are kept."""
    return paths.cache_dir() / "bench"


def python_of(peer: Peer) -> Path:
    """The interpreter that has what the server needs.

    Raises:
        CannotInstall: the installer refused; the next call tries once more.
    """
    if peer.requirements is None:
        return Path(sys.executable)
    wanted = REQUIREMENTS / peer.requirements
    version = hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]
    home = folder() / "environments" / f"{wanted.stem}-{version}"
    python, complete = home / "bin" / "python", home / ".complete"
    if not complete.exists():
        print(f"installing {wanted.name}", file=sys.stderr, flush=True)
        _run("venv", "--quiet", "--clear", "--python", sys.executable, str(home))
        # uv links what its cache has: TensorFlow takes its place on the disk once. A server's first start compiles what
        # it imports.
        _run("pip", "install", "--quiet", "--python", str(python), "-r", str(wanted))
        complete.touch()
    return python


def _run(*arguments: str) -> None:
    done = subprocess.run([Path(sys.executable).parent / "uv", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotInstall("\n".join(done.stderr.splitlines()[-15:]))
