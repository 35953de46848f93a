"""Triton, as ``nvidia-pytriton`` packs it, with its Python backend: one instance, whose calls are batched."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from benchmarks.peers import peer

PEER = peer.Peer(title="Triton, Python backend", requirements="triton.txt", encodings=peer.ENCODINGS)
ROWS_MAX = 64
TYPES = {"FP32": "TYPE_FP32", "INT32": "TYPE_INT32"}
CONFIG = """
backend: "python"
max_batch_size: {rows_max}
input [ {{ name: "{given}" data_type: {type} dims: {given_shape} }} ]
output [ {{ name: "{wanted}" data_type: TYPE_FP32 dims: {wanted_shape} }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{ }}
parameters {{ key: "saved_model" value {{ string_value: "{saved_model}" }} }}
"""


def serve(asked: peer.Asked) -> None:
    """Becomes Triton's own process."""
    from benchmarks.peers.fast_call import FastCall

    call = FastCall(asked.saved_model)
    text = CONFIG.format(
        rows_max=ROWS_MAX,
        given=call.input_name,
        type=TYPES[call.datatype],
        given_shape=list(call.input_shape[1:]),
        wanted=call.output_name,
        wanted_shape=list(call.output_shape[1:]),
        saved_model=asked.saved_model,
    )
    repository = asked.folder / "repository"
    (repository / asked.model / "1").mkdir(parents=True)
    (repository / asked.model / "config.pbtxt").write_text(text)
    (repository / asked.model / "1" / "model.py").symlink_to(Path(__file__).with_name("triton_model.py"))
    found = importlib.util.find_spec("pytriton")
    if found is None or found.origin is None:
        raise SystemExit("nvidia-pytriton is not installed")
    packed = Path(found.origin).parent / "tritonserver"
    options = {
        "model-repository": repository,
        "backend-directory": _lay_out_backend(packed, asked.folder / "backends"),
        "http-address": "127.0.0.1",
        "http-port": asked.http_port,
        "grpc-address": "127.0.0.1",
        "grpc-port": asked.grpc_port,
        "allow-metrics": "false",
    }
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(packed.parents[1] / "nvidia_pytriton.libs"),
        # The backend's own process finds the packages by the first `python` of the path, and what it imports by this.
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(packed.parents[1])]),
    }
    program = str(packed / "bin" / "tritonserver")
    os.execve(program, [program, *(f"--{name}={value}" for name, value in options.items())], environment)


def _lay_out_backend(packed: Path, folder: Path) -> Path:
    """The backend's folder with the process for this version of Python, as pytriton itself lays it out."""
    made = folder / "python"
    made.mkdir(parents=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = packed / "python_backend_stubs" / version / "triton_python_backend_stub"
    for each in (*(packed / "backends" / "python").iterdir(), stub):
        (made / each.name).symlink_to(each)
    return folder
