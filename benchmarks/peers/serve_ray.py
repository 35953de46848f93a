"""Plain Ray Serve with FastAPI and Serve's own proxy: one replica."""

from __future__ import annotations

import os
import signal
import tempfile

from benchmarks.peers import peer

PEER = peer.Peer(title="Ray Serve + FastAPI", requirements="ray.txt", encodings=(peer.JSON,))


def serve(asked: peer.Asked) -> None:
    """Serves until the process gets SIGTERM."""
    # On a busy machine the proxy takes longer to start than Serve waits by default.
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "120"
    import ray
    from benchmarks.peers import ray_model
    from ray import serve

    # A path so short that Ray's sockets fit into it.
    with tempfile.TemporaryDirectory(prefix="bench-ray-", ignore_cleanup_errors=True) as folder:
        ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder, log_to_driver=False)
        serve.start(http_options={"host": "127.0.0.1", "port": asked.http_port})
        serve.run(ray_model.Model.bind(str(asked.saved_model)))
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        serve.shutdown()
        ray.shutdown()
