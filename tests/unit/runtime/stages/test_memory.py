"""A model too large for one process's memory is cut within it, and served within it by two."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support import made_once

MIB = 2**20
WEIGHTS_MIB, LAYERS = 256, 16
LIMIT_MIB = 235
"""More than what a process with a session of TensorFlow takes: a half of the weights fits in, the whole does not.

Where a kernel gets no memory for a call, TensorFlow may give what was in the memory of its output before.
"""
PROCESS = """
import json, resource, sys
from pathlib import Path
import numpy as np
from fairlead_runtime import config
from fairlead_runtime.model import loader, prepare, tensorflow_import
from fairlead_runtime.stages import loading

path, cache, what, limit_mib, given = sys.argv[1:]
tensorflow_import.import_for_saved_models()
# TensorFlow's threads, whose stacks count as data.
part = tensorflow_import.import_part
threads = part("core.protobuf.config_pb2").ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
graph = part("python.framework.ops").Graph()
with graph.as_default():
    one = part("python.framework.constant_op").constant(1.0)
session = part("python.client.session").Session(graph=graph, config=threads)
session.run(one)
data = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
limit = int(data.split()[1]) * 1024 + int(limit_mib) * 2**20
source = {"uri": Path(path).as_uri()}
raw = {"schemaVersion": 1, "namespace": "d", "model": "m", "revision": "r", "revisionNumber": 1, "source": source}
environment = config.Environment(cache_dir=Path(cache), convert_bytes=limit, convert_s=3000)
wanted, kept = prepare.fetch(config.parse(raw), None, environment, threads=1)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
if what == "whole":
    predictor = loader.load(wanted.fetched.path, None, None, wanted.bounds, threads=1).predictor
else:
    cut = loading.cut(wanted, kept, 2, lambda root, signature: ())
    assert all(part.weight_bytes < 0.6 * sum(each.weight_bytes for each in cut.cut.parts) for part in cut.cut.parts)
    predictor = cut.open_stage(int(what), threads=1)
(outputs,) = predictor((np.load(given),))
np.save(given.replace("input", f"output-{what}"), outputs)
"""


def served(folder: Path, what: str, given: Path, limit_mib: int) -> subprocess.CompletedProcess[str]:
    arguments = [str(folder / "large"), str(folder / "cache"), what, str(limit_mib), str(given)]
    return subprocess.run([sys.executable, "-c", PROCESS, *arguments], capture_output=True, text=True, timeout=1200)


@pytest.mark.timeout(3600)
def test_two_processes_serve_within_a_limit_what_one_cannot(tmp_path: Path) -> None:
    made_once.run_maker("make_cuttable_models", tmp_path, WEIGHTS_MIB)
    side = int((WEIGHTS_MIB * MIB / LAYERS / 4) ** 0.5)
    given = tmp_path / "input.npy"
    np.save(given, np.random.default_rng(0).random((2, side), dtype=np.float32))

    whole = served(tmp_path, "whole", given, LIMIT_MIB)
    assert whole.returncode != 0, "the whole model fits: the limit shows nothing"
    assert re.search("OOM|bad_alloc|MemoryError|allocat", whole.stderr), whole.stderr[-3000:]

    first = served(tmp_path, "1", given, LIMIT_MIB)
    assert first.returncode == 0, first.stderr[-3000:]
    between = tmp_path / "output-1.npy"
    second = served(tmp_path, "2", between.rename(tmp_path / "input-of-2.npy"), LIMIT_MIB)
    assert second.returncode == 0, second.stderr[-3000:]
    found = np.load(tmp_path / "output-2-of-2.npy")

    assert served(tmp_path, "whole", given, 4096).returncode == 0
    assert np.allclose(found, np.load(tmp_path / "output-whole.npy"), rtol=1e-5, atol=1e-6)
