"""Programs that tests alone use: built once from the Go modules in ``gobuild/``, and kept in our cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from fairlead_cli.local import build, locks, paths, progress

MODULES = Path(__file__).parent / "gobuild"


def obtain(module: str, reporter: progress.Reporter) -> Path:
    """The folder with the programs of ``gobuild/MODULE``; a build takes seconds to minutes, by the module."""
    sources = sorted((MODULES / module).iterdir())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = paths.cache_dir() / "bin" / f"{module}-{digest}"
    if not folder.exists():
        with locks.hold(folder.parent / f"{module}.lock", what="another test builds it", reporter=reporter):
            if not folder.exists():
                reporter.step(f"building {module} (tests/support/gobuild)")
                _build(MODULES / module, folder)
    return folder


def dependency(module: str, path: str) -> Path:
    """The unpacked Go module ``path`` in the version that ``gobuild/MODULE`` builds, checked against its go.sum."""
    argv = [str(build.find_go(os.environ)), "mod", "download", "-json", path]
    done = subprocess.run(
        argv, cwd=MODULES / module, capture_output=True, text=True, check=False, env={**os.environ, "GOWORK": "off"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])


def _build(module: Path, folder: Path) -> None:
    packages = "." if (module / "main.go").exists() else "tool"
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".build-") as temporary:
        made = Path(temporary, "programs")
        arguments = ["build", "-buildvcs=false", "-ldflags=-s -w", "-o", f"{made}/", packages]
        environment = {"GOTOOLCHAIN": "local", **os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
        done = subprocess.run(
            [str(build.find_go(os.environ)), *arguments],
            cwd=module,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        shutil.move(made, folder)
