"""A replica without Ray, as a program: it doubles what it gets, joins its node, and ends with its standard input.

``python -m tests.hostile.replica FOLDER`` writes a SavedModel there and serves it; the node is that of the variables
``FAIRLEAD_…`` (docs/contracts.md, "Replica discovery").
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from fairlead_runtime.replica import Replica

MODEL, REVISION = "digits", "aaaaaaaaaa"


def main() -> None:
    raw = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": MODEL,
        "revision": REVISION,
        "revisionNumber": 1,
        "source": {"uri": _save(Path(sys.argv[1]) / "model").as_uri()},
    }
    asyncio.run(Replica(raw).reconfigure(None))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


def _save(folder: Path) -> Path:
    import tensorflow as tf

    def call(x: Any) -> dict[str, Any]:
        return {"y": x * 2.0}

    module = tf.Module()
    module.call = tf.function(call, input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder


if __name__ == "__main__":
    main()
