"""The child process that serves a model with one setting: `python -m fairlead_cli.tuning.replica REQUEST` (JSON).

It is the replica that Ray would run, without Ray and gateway. Its one answer is a line of JSON: its port and its first
request's inputs, or `error`. It serves until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import sys
import threading
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fairlead_runtime import config
from fairlead_runtime.discovery.folder import Reader
from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import child_process
from fairlead_runtime.replica import Replica

MODEL = "tuned"
NAMESPACE = "default"


class Request(BaseModel):
    """The model, how it is served, the folder of the process's files, and which process it ends with."""

    model_config = ConfigDict(frozen=True)

    model: pathlib.Path
    signature: str | None
    engine: config.EngineMode
    threads: int = Field(ge=1)
    batching: dict[str, Any]
    folder: pathlib.Path
    cache: pathlib.Path
    directory_port: int
    parent: int


def main() -> None:
    request = Request.model_validate_json(sys.argv[1])
    child_process.end_with_parent(request.parent)
    # Standard output is for the answer alone: what libraries print there goes to standard error.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.update(
        FAIRLEAD_CLUSTER=f"{NAMESPACE}/{MODEL}",
        FAIRLEAD_REPLICA_HOST="127.0.0.1",
        FAIRLEAD_NODE_FOLDER=str(request.folder / "node"),
        FAIRLEAD_NODE_DIRECTORY=f"127.0.0.1:{request.directory_port}",
        FAIRLEAD_CACHE_DIR=str(request.cache),
    )
    replica = Replica(_configuration(request))
    answer: dict[str, object]
    try:
        asyncio.run(replica.reconfigure(None))
        answer = {"port": Reader(request.folder / "node").read()[0].replica.port}
    except LoadError as error:
        answer = {"error": error.sentence}
    print(json.dumps(answer), file=output, flush=True)
    if "error" not in answer:
        threading.Event().wait()


def _configuration(request: Request) -> dict[str, Any]:
    return {
        "schemaVersion": config.SCHEMA_VERSION,
        "namespace": NAMESPACE,
        "model": MODEL,
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": request.model.as_uri(), "signature": request.signature},
        "engine": request.engine.value,
        "batching": request.batching,
    }


if __name__ == "__main__":
    main()
