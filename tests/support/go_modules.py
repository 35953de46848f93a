"""Files of a Go module, as Go's proxy serves them: some projects publish their CRDs nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from fairlead_cli.local import build


def folder(module: str, version: str, *, checksum: str) -> Path:
    """The unpacked module in Go's own cache; ``checksum`` as in a go.sum."""
    argv = [str(build.find_go(os.environ)), "mod", "download", "-json", f"{module}@{version}"]
    with tempfile.TemporaryDirectory() as elsewhere:
        done = subprocess.run(argv, cwd=elsewhere, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["Sum"] == checksum, f"{module}@{version} is not what it was: {found['Sum']}"
    return Path(found["Dir"])
