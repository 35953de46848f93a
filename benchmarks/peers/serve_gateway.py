"""Fairlead's gateway, its agent and HAProxy, before one replica: what a client of a ModelDeployment gets."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import peer, serve_replica

PEER = peer.Peer(title="Fairlead, through the gateway", requirements=None, encodings=peer.ENCODINGS, has_one_port=True)


def serve(asked: peer.Asked) -> None:
    """Serves until the process gets SIGTERM. HTTP and gRPC come to the same port."""
    from tests.support import gateway_process

    from fairlead_runtime.config import NodeEnvironment

    directory_port = gateway_process.free_port()
    folder = asked.folder / "replica"
    folder.mkdir()
    node = NodeEnvironment(
        cluster=serve_replica.CLUSTER,
        replica_host="127.0.0.1",
        folder=folder / "node",
        directory_host="127.0.0.1",
        directory_port=directory_port,
    )
    gateway = gateway_process.Gateway(asked.folder / "gateway", nodes=[node], is_forked=False)
    gateway.data_port = asked.http_port
    gateway.start()
    replica = _start_replica(dataclasses.replace(asked, folder=folder, grpc_port=directory_port))
    try:
        content = {serve_replica.REVISION: gateway_process.revision()}
        gateway.apply(**{asked.model: gateway_process.spec(serve_replica.REVISION, content)})
        gateway.wait_up(asked.model, serve_replica.REVISION)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    finally:
        gateway.stop()
        replica.terminate()
        replica.wait()


def _start_replica(asked: peer.Asked) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.peers.run_server", "serve_replica", asked.to_json()]
    return subprocess.Popen(command, cwd=Path(__file__).parents[2], env=os.environ)
