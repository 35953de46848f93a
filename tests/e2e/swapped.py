"""A SavedModel that takes two classes for each other, in silence: ``python -m tests.e2e.swapped SOURCE OUT A B``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make(source: Path, out: Path, first: int, second: int) -> Path:
    """The model's folder: as the source but for two classes; TensorFlow is imported by a process of its own."""
    command = [sys.executable, "-m", "tests.e2e.swapped", str(source), str(out), str(first), str(second)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def main(source: Path, out: Path, first: int, second: int) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.inner = tf.saved_model.load(str(source))
    inner = module.inner.signatures["serving_default"]
    ((name, spec),) = inner.structured_input_signature[1].items()
    order = [{first: second, second: first}.get(place, place) for place in range(10)]

    @tf.function(input_signature=[tf.TensorSpec(spec.shape, spec.dtype, name)])
    def call(rows: tf.Tensor) -> dict[str, tf.Tensor]:
        return {key: tf.gather(value, order, axis=1) for key, value in inner(**{name: rows}).items()}

    module.call = call
    tf.saved_model.save(module, str(out), signatures={"serving_default": call})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
