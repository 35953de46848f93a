"""A SavedModel of the digits' outputs that takes another input: ``python -m tests.e2e.wider OUT``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIXELS = 80


def make(out: Path) -> Path:
    """The model's folder; TensorFlow is imported by a process of its own."""
    done = subprocess.run([sys.executable, "-m", "tests.e2e.wider", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def main(out: Path) -> None:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, PIXELS], tf.float32, "pixels")])
    def call(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(pixels[:, :10])}

    module.call = call
    tf.saved_model.save(module, str(out), signatures={"serving_default": call})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
