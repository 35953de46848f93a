"""What a process needs that is started for work which may end it: the way to our packages, an end with its parent."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

# What a Python process needs to find its libraries and the system's certificates. No tokens: a model is a program.
_PASSED_ON = (
    *("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR", "LANG", "LC_ALL", "PYTHONDONTWRITEBYTECODE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
_SET_PDEATHSIG = 1  # PR_SET_PDEATHSIG. Source: prctl(2)
FILE_BYTES_MAX = 2**31
"""Of a file that it writes: no message of protobuf, which an ONNX file is, is larger."""


def environment(**more: str) -> Mapping[str, str]:
    """The variables of the child."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Imported from where this process has them, however it was started.
    passed_on["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return {**passed_on, **more}


def data_bytes() -> int:
    """How much memory this process has of the kind that its limit counts."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmData:")).split()[1]) * 1024


def end_with_parent(parent: int) -> None:
    """Called by the child: it ends when the thread that started it does, or at once if `parent` is gone already."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def bound(parent: int, *, seconds: float, threads: int, data_bytes: int, file_bytes: int = FILE_BYTES_MAX) -> None:
    """Called by the child: it ends with `parent`, and is the first one that a node without memory ends."""
    end_with_parent(parent)
    processor_s = math.ceil(seconds * max(1, threads))
    # The first limit ends it by a signal of its own, the second one as a lack of memory would.
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s + 10))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Python ignores the signal of this one: a write fails, and the error is the last line of the output.
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    Path("/proc/self/oom_score_adj").write_text("1000")
