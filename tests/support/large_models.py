"""Models of any size, made and loaded in processes of their own: ``python -m tests.support.large_models make|load …``.

``make KIND MEBIBYTES PATH`` saves a model with variables of so many mebibytes, 0 for a small one. ``load PATH`` loads
it as a replica does, asks it once, and prints the most memory that its process had, in bytes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

PART_MEBIBYTES = 64
"""Of each variable: 4,096 times 4,096 numbers."""
SIDE = 4096
SMALL_SIDE = 16


def make(kind: str, mebibytes: int, path: Path) -> None:
    _run("make", kind, str(mebibytes), str(path))


def measure_peak_bytes(path: Path) -> int:
    """The most memory of a process that loads the model and asks it once."""
    return int(_run("load", str(path)).splitlines()[-1])


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.support.large_models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=1100).stdout


def _make_saved_model(parts: int, side: int, path: Path) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.parts = [tf.Variable(tf.fill([side, side], float(number))) for number in range(parts)]

    def call(x: Any) -> dict[str, Any]:
        return {"y": x + sum(tf.gather(part, [0])[:, :4] for part in module.parts)}

    module.call = tf.function(call, input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    tf.saved_model.save(module, str(path), signatures=module.call)


def _make_keras_file(parts: int, side: int, path: Path) -> None:
    import keras

    rows = keras.Input((1,), dtype="int32", name="rows")
    layers = [keras.layers.Embedding(side, side)(rows) for _ in range(parts)]
    keras.Model(rows, keras.layers.Add()(layers) if parts > 1 else layers[0]).save(path)


def _load(path: Path) -> int:
    from fairlead_runtime.model import loader
    from fairlead_runtime.model.bounds import Bounds
    from fairlead_runtime.model.signature import example_inputs

    model = loader.load(path, None, None, Bounds(bytes_max=8 << 30), threads=1)
    model.predictor(example_inputs(model.signature, 1))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _main() -> None:
    match sys.argv[1:]:
        case ["make", kind, mebibytes, path]:
            parts, side = max(1, int(mebibytes) // PART_MEBIBYTES), SIDE if int(mebibytes) else SMALL_SIDE
            (_make_keras_file if kind == "Keras" else _make_saved_model)(parts, side, Path(path))
        case ["load", path]:
            print(_load(Path(path)))
        case other:
            sys.exit(f"not understood: {other}")


if __name__ == "__main__":
    _main()
