"""MLServer with a custom runtime, without parallel workers: the model is called in the server's process."""

from __future__ import annotations

import asyncio

from benchmarks.peers import peer

PEER = peer.Peer(title="MLServer", requirements="mlserver.txt", encodings=(peer.JSON, peer.GRPC))


def serve(asked: peer.Asked) -> None:
    """Serves until the process gets SIGTERM."""
    import mlserver
    from mlserver.settings import ModelParameters

    settings = mlserver.Settings(
        host="127.0.0.1",
        http_port=asked.http_port,
        grpc_port=asked.grpc_port,
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    model = mlserver.ModelSettings(
        name=asked.model,
        implementation="benchmarks.peers.mlserver_model.Model",
        parameters=ModelParameters(uri=str(asked.saved_model)),
    )
    asyncio.run(mlserver.MLServer(settings).start([model]))
