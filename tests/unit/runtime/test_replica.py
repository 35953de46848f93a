"""A replica keeps its model in the node's cache while it lives, and reports what its start removed."""

from __future__ import annotations

import asyncio
import gc
import http.client
from pathlib import Path

import pytest
from tests.support import node_members
from tests.support.replica_parts import DoublingModel, float_signature

from fairlead_runtime.model import cache, loader
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.replica import Replica


def metrics_at(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/metrics")
        with connection.getresponse() as answer:
            return answer.read().decode()
    finally:
        connection.close()


async def test_a_replica_keeps_its_model_in_the_cache_and_reports_evicted_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "cache"
    unused = root / ("sha256-" + "0" * 64)
    unused.mkdir(parents=True)
    (unused / "data").write_bytes(bytes(5000))
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(root))
    monkeypatch.setenv("FAIRLEAD_CACHE_BYTES", "1000")
    loaded = LoadedModel(signature=float_signature(), predictor=DoublingModel(), kind="stand-in")
    monkeypatch.setattr(loader, "load", lambda *_, **__: loaded)
    (tmp_path / "model.keras").write_bytes(b"model")
    # Ray awaits it; Python would call it once more, and await nothing.
    drain = Replica.__del__
    monkeypatch.delattr(Replica, "__del__")
    node = node_members.node(tmp_path)
    node_members.set_environment(monkeypatch, node)
    replica = Replica(
        {
            "schemaVersion": 1,
            "namespace": "default",
            "model": "digits",
            "revision": "a" * 10,
            "revisionNumber": 1,
            "source": {"uri": (tmp_path / "model.keras").as_uri()},
        }
    )
    await replica.reconfigure({"digest": None})
    await replica.check_health()

    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
    exposition = await asyncio.to_thread(metrics_at, listed["port"])
    assert 'fairlead_replica_cache_evicted_models_total{model="digits",namespace="default"' in exposition
    evicted = [
        line.split()[-1] for line in exposition.splitlines() if line.startswith("fairlead_replica_cache_evicted_")
    ]
    assert float(evicted[0]) == 1.0
    assert float(evicted[1]) >= 5000
    kept = cache.Cache(root, bytes_max=0)
    kept.make_room(0)
    assert not unused.exists()
    assert len(list(root.glob("sha256-*"))) == 1
    plane = replica._dataplane
    assert plane is not None
    monkeypatch.setattr(plane, "trouble", lambda: "a call of the model has not returned for 90 s")
    with pytest.raises(RuntimeError, match="has not returned"):
        await replica.check_health()
    await drain(replica)
    assert list(node.folder.iterdir()) == []
    del replica
    gc.collect()
