"""LitServe with one worker, whose predictions come through LitServe's queue."""

from __future__ import annotations

from benchmarks.peers import peer

PEER = peer.Peer(title="LitServe", requirements="litserve.txt", encodings=(peer.JSON,), path="/infer")


def serve(asked: peer.Asked) -> None:
    """Serves until the process is ended."""
    import litserve
    from benchmarks.peers import litserve_model

    model = litserve_model.Model(asked.model, asked.saved_model, PEER.path)
    server = litserve.LitServer(model, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=asked.http_port, log_level="error", generate_client_file=False)
