"""Bad versions of the dense digits model: one fails on inputs that it doesn't know, one's answers take four to five
times as long as another's.

``python -m tests.e2e.worsened OUT`` makes ``OUT/dense/failing``, ``OUT/dense/usual`` and ``OUT/dense/late`` around the
trained ``OUT/dense/v2``, with its signature and its answers.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = pathlib.Path(__file__).resolve().parents[2]
KNOWN_BELOW = 50.0
"""A pixel is at most 1; the failing version fails at a brighter one."""
PRODUCTS = 24
"""So many that the rest of an answer, most of it waiting for a processor, is short beside them also beside other tests:
with a third of them the median was once less than twice as long, and the late version was rightly promoted."""
TIMES = 8
"""An answer has a part that is not work, so it takes less than this times as long."""
SIZE = 256


def make(out: pathlib.Path) -> None:
    """All of them, made in a process of its own: a test doesn't import TensorFlow."""
    done = subprocess.run([sys.executable, "-m", "tests.e2e.worsened", str(out)], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def main(out: pathlib.Path) -> None:
    import tensorflow as tf
    from examples import digest

    trained = tf.saved_model.load(str(out / "dense" / "v2" / "saved_model"))
    answers = trained.signatures["serving_default"]
    (specification,) = answers.structured_input_signature[1].values()

    def known(x: tf.Tensor) -> tf.Tensor:
        """For an unknown input it looks into a table that nobody filled: TensorFlow fails, by no fault of a client."""

        def missing() -> tf.Tensor:
            table = tf.raw_ops.AnonymousHashTable(key_dtype=tf.int64, value_dtype=tf.float32)
            found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=tf.constant(1, tf.int64), default_value=0.0)
            return tf.reshape(found, ())  # else the shape of the output were unknown: another signature

        return tf.cond(tf.reduce_max(x) < KNOWN_BELOW, lambda: tf.reduce_mean(x), missing)

    def worked(times: int) -> Callable[[tf.Tensor], tf.Tensor]:
        def work(x: tf.Tensor) -> tf.Tensor:
            product = tf.eye(SIZE) * tf.reduce_mean(x)
            for _ in range(times * PRODUCTS):
                product = tf.tanh(product @ product)
            return tf.reduce_mean(product)

        return work

    def worsened(first: Callable[[tf.Tensor], tf.Tensor]) -> tf.Module:
        """Its answers depend on what comes first, so that no optimiser leaves that out; it changes no digit of them."""
        module = tf.Module()
        module.trained = trained

        @tf.function(input_signature=[specification])
        def call(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            nothing = first(pixels) * 1e-30
            return {name: scores + nothing for name, scores in answers(**{specification.name: pixels}).items()}

        module.call = call
        return module

    for name, first in (("failing", known), ("usual", worked(1)), ("late", worked(TIMES))):
        folder, module = out / "dense" / name, worsened(first)
        tf.saved_model.save(module, str(folder / "saved_model"), signatures={"serving_default": module.call})
        digests = {"saved_model": digest.hash_path(folder / "saved_model")}
        (folder / "training.json").write_text(json.dumps({"digests": digests}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
