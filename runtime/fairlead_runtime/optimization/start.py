"""A process that has one model and nothing else: `python -m fairlead_runtime.optimization.start REQUEST` (JSON).

It says how long it took to open the model, with ONNX Runtime's own start, and how much memory is resident after a call.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fairlead_runtime.model import child_process
from fairlead_runtime.model.onnx import predictor
from fairlead_runtime.model.onnx.record import KeptSignature

TIMEOUT_S = 60.0


class Request(BaseModel):
    """A compressed model, its signature, an input in a file, the process with which this one ends, and its memory."""

    model_config = ConfigDict(frozen=True)

    path: Path
    inputs: Path
    signature: KeptSignature
    threads: int
    parent: int
    data_bytes: int


class Started(BaseModel):
    """What was measured."""

    start_s: float
    rss_bytes: int


class FailedError(Exception):
    """It gave no answer."""


def measure(asked: Request) -> Started:
    """Waits for it; raises FailedError."""
    command = [sys.executable, "-m", "fairlead_runtime.optimization.start", asked.model_dump_json()]
    environment = child_process.environment(OMP_NUM_THREADS=str(asked.threads))
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise FailedError(f"its start took longer than {TIMEOUT_S:.0f} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").splitlines()
        raise FailedError(f"its start failed: {lines[-1] if lines else 'no output'}")
    return Started.model_validate_json(done.stdout)


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.end_with_parent(request.parent)
    resource.setrlimit(resource.RLIMIT_DATA, (request.data_bytes, request.data_bytes))
    begun_s = time.perf_counter()
    content = zlib.decompress(request.path.read_bytes())
    model = predictor.open_model(content, request.signature.signature(), threads=request.threads)
    start_s = time.perf_counter() - begun_s
    del content
    with np.load(request.inputs, allow_pickle=False) as arrays:
        model(tuple(arrays[name] for name in sorted(arrays.files)))
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(json.dumps({"start_s": start_s, "rss_bytes": resident}))


if __name__ == "__main__":
    main()
