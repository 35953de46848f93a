"""Writes a tiny SavedModel that doubles its input, as a tar.gz archive; run as a process of its own."""

from __future__ import annotations

import sys
import tarfile
import tempfile

import tensorflow as tf


class Doubling(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def double(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * 2.0}


def main(target: str) -> None:
    module = Doubling()
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": module.double})
        with tarfile.open(target, "w:gz") as archive:
            archive.add(folder, arcname="doubling")


if __name__ == "__main__":
    main(sys.argv[1])
