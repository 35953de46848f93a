"""BentoML with one worker, its access log and tracing off."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers import peer

PEER = peer.Peer(title="BentoML", requirements="bentoml.txt", encodings=(peer.JSON,), path="/infer")
ASKED = "FAIRLEAD_BENCH_ASKED"


def serve(asked: peer.Asked) -> None:
    """Becomes BentoML's own server, which imports ``bentoml_service.py``."""
    environment = {
        **os.environ,
        ASKED: asked.to_json(),
        "BENTOML_HOME": str(asked.folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    command = [sys.executable, "-m", "bentoml", "serve", "benchmarks.peers.bentoml_service:Service"]
    flags: dict[str, Any] = {"host": "127.0.0.1", "port": asked.http_port, "working-dir": Path(__file__).parents[2]}
    os.execve(sys.executable, [*command, *(f"--{name}={value}" for name, value in flags.items())], environment)
