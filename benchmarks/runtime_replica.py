"""Requests a second of one replica without Ray and gateway, for a SavedModel with one float input; needs `wrk`.

    python -m benchmarks.runtime_replica MODEL_FOLDER [--uvicorn] [--seconds 5] [--connections 16 1]

`--uvicorn` measures the same model behind a raw ASGI application, as a yardstick. On a shared machine, compare the
processor time of a request; requests a second only tell something on an idle one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from fairlead_runtime import config
from fairlead_runtime.discovery.folder import Reader
from fairlead_runtime.inference import codec
from fairlead_runtime.model import prepare
from fairlead_runtime.model.signature import example_inputs
from fairlead_runtime.replica import Replica

PORT = 23450
PATH = "/v1/models/bench:predict"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--uvicorn", action="store_true")
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[16, 1])
    chosen = parser.parse_args()
    raw = configuration(chosen.model.resolve())
    prepared = prepare.prepare(config.parse(raw), None, config.environment(), threads=1)
    print(
        f"{prepared.model.kind}, {prepared.warm_up.speed.single_s * 1e6:.0f} µs a call, start {dict(prepared.phases_s)}"
    )
    if chosen.uvicorn:
        port = PORT
        serve_with_uvicorn(prepared)
    else:
        port = serve_as_replica(raw)
    rows = example_inputs(prepared.model.signature, 1, seed=1)[0].astype(float).round(4).tolist()
    for connections in chosen.connections:
        measure(json.dumps({"instances": rows}), port, connections, chosen.seconds)
    sys.stdout.flush()


def configuration(model: Path) -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "namespace": "bench",
        "model": "bench",
        "revision": "0000000000",
        "revisionNumber": 1,
        "source": {"uri": model.as_uri()},
    }


def serve_as_replica(raw: Mapping[str, object]) -> int:
    """The port that the replica took."""
    folder = Path(tempfile.mkdtemp()) / "node"
    variables = {
        "FAIRLEAD_CLUSTER": "bench/bench",
        "FAIRLEAD_REPLICA_HOST": "127.0.0.1",
        "FAIRLEAD_NODE_FOLDER": str(folder),
        "FAIRLEAD_NODE_DIRECTORY": f"127.0.0.1:{PORT}",
    }
    os.environ.update(variables)
    asyncio.run(Replica(raw).reconfigure(None))
    return Reader(folder).read()[0].replica.port


def serve_with_uvicorn(prepared: prepare.PreparedModel) -> None:
    spec = prepared.model.signature.inputs[0]

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        chunks = []
        while True:
            message = await receive()
            chunks.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        given = codec.from_json(spec, orjson.loads(b"".join(chunks))["instances"], may_hold_booleans=False)
        (result,) = prepared.model.predictor((given,))
        body = orjson.dumps({"predictions": result}, option=orjson.OPT_SERIALIZE_NUMPY)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    options = {"loop": "uvloop", "http": "httptools", "access_log": False, "lifespan": "off", "log_level": "error"}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=PORT, **options))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        threading.Event().wait(0.01)


def measure(body: str, port: int, connections: int, seconds: int) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = {json.dumps(body)}\n")
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", script.name]
        before = resource.getrusage(resource.RUSAGE_SELF)
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_SELF)
    lines = [line.strip() for line in done.stdout.splitlines()]
    requests = next(int(line.split()[0]) for line in lines if "requests in" in line)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    wanted = ("50%", "99%", "Requests/sec", "Non-2xx", "Socket errors")
    lines_text = "; ".join(" ".join(line.split()) for line in lines if line.startswith(wanted))
    print(f"{connections} connections: {lines_text}; {spent_s / requests * 1e6:.0f} µs of processor a request")


if __name__ == "__main__":
    main()
