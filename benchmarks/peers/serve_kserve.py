"""KServe's Python server with a custom model and one worker; its logs of each request are off."""

from __future__ import annotations

import logging
from typing import Any

from benchmarks.peers import peer

PEER = peer.Peer(title="KServe, Python server", requirements="kserve.txt", encodings=peer.ENCODINGS)


def serve(asked: peer.Asked) -> None:
    """Serves until the process gets SIGTERM."""
    import kserve
    from benchmarks.peers import kserve_model

    _listen_on_loopback()
    model = kserve_model.Model(asked.model, asked.saved_model)
    model.load()
    server = kserve.ModelServer(
        http_port=asked.http_port,
        grpc_port=asked.grpc_port,
        workers=1,
        access_log_format="",
        enable_latency_logging=False,
    )
    for name in ("kserve", "kserve.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([model])


def _listen_on_loopback() -> None:
    """KServe has no setting for the address; it listens on all."""
    import grpc.aio
    import uvicorn

    class Config(uvicorn.Config):
        def __init__(self, app: Any, **settings: Any) -> None:
            super().__init__(app, **{**settings, "host": "127.0.0.1"})

    add_port = grpc.aio.Server.add_insecure_port
    uvicorn.Config = Config  # type: ignore[misc, unused-ignore]
    grpc.aio.Server.add_insecure_port = lambda server, address: add_port(server, address.replace("[::]", "127.0.0.1"))
