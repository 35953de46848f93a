"""The packages of foreign clients, in a folder of their own beside the environment.

One of them names the package `tensorflow` as its dependency, which must not be installed beside `tensorflow-cpu`, so
none of their dependencies are: the environment has them.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from fairlead_cli.local import locks, paths, progress

LOCK = Path(__file__).with_name("clients.lock")
MLFLOW_LOCK = Path(__file__).with_name("mlflow.lock")


def obtain() -> Path:
    """The folder for `PYTHONPATH`, filled once for each lock file."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    kept = paths.cache_dir() / "foreign-clients" / digest
    kept.parent.mkdir(parents=True, exist_ok=True)
    with locks.hold(kept.parent / "lock", what="another test installs it", reporter=progress.Silent()):
        if kept.is_dir():
            return kept
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / "made"
            uv = Path(sys.executable).with_name("uv")
            wanted = ("--target", made, "--no-deps", "--require-hashes", "--requirements", LOCK)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", sys.executable, *wanted], check=True)
            made.rename(kept)
    return kept


def obtain_mlflow() -> Path:
    """The program `mlflow` in an environment of its own, as it and ours need different versions of packages."""
    digest = hashlib.sha256(MLFLOW_LOCK.read_bytes()).hexdigest()[:16]
    kept = paths.cache_dir() / "mlflow" / digest
    kept.parent.mkdir(parents=True, exist_ok=True)
    with locks.hold(kept.parent / "lock", what="another test installs it", reporter=progress.Silent()):
        if not (kept / "complete").exists():
            uv = Path(sys.executable).with_name("uv")
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, kept], check=True)
            wanted = ("--require-hashes", "--requirements", MLFLOW_LOCK)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", kept / "bin/python", *wanted], check=True)
            (kept / "complete").touch()
    return kept / "bin" / "mlflow"
