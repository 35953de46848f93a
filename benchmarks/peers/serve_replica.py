"""Fairlead's replica on its own port, without Ray and without a gateway."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from benchmarks.peers import peer

PEER = peer.Peer(title="Fairlead, replica alone", requirements=None, encodings=(peer.JSON, peer.BINARY))
REVISION = "0000000000"
CLUSTER = "default/default"


def serve(asked: peer.Asked) -> None:
    """Serves until the process is ended. The replica chooses its port: it is written to the folder's file ``port``."""
    node = {
        "FAIRLEAD_CLUSTER": CLUSTER,
        "FAIRLEAD_REPLICA_HOST": "127.0.0.1",
        "FAIRLEAD_NODE_FOLDER": str(asked.folder / "node"),
        "FAIRLEAD_NODE_DIRECTORY": f"127.0.0.1:{asked.grpc_port}",
        "FAIRLEAD_CACHE_DIR": str(asked.folder / "cache"),
    }
    os.environ.update(node)
    from fairlead_runtime.discovery.folder import Reader
    from fairlead_runtime.replica import Replica

    replica = Replica(
        {
            "schemaVersion": 1,
            "namespace": "default",
            "model": asked.model,
            "revision": REVISION,
            "revisionNumber": 1,
            "source": {"uri": asked.saved_model.as_uri()},
        }
    )
    asyncio.run(replica.reconfigure(None))
    (found,) = Reader(Path(node["FAIRLEAD_NODE_FOLDER"])).read()
    (asked.folder / "port.new").write_text(str(found.replica.port))
    (asked.folder / "port.new").rename(asked.folder / "port")
    threading.Event().wait()
