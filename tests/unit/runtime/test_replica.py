"""A replica keeps its model in the node's cache while it lives, and reports what its start removed."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import re
import time
from pathlib import Path

import pytest
from tests.support import node_members, payload_sink
from tests.support.replica_drain import drain
from tests.support.replica_parts import DoublingModel, float_signature
from tests.support.until import until

from fairlead_operator.state.bounds import Bounds
from fairlead_runtime import config, failed_starts
from fairlead_runtime import replica as replica_module
from fairlead_runtime.discovery import entry, member
from fairlead_runtime.errors import LoadError
from fairlead_runtime.inference import dataplane
from fairlead_runtime.model import cache, digest, evaluation_record, loader
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.replica import Replica
from fairlead_runtime.server import thread as server_thread


def metrics_at(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request("GET", "/metrics")
        with connection.getresponse() as answer:
            return answer.read().decode()
    finally:
        connection.close()


def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> config.NodeEnvironment:
    """A node with a model that needs no TensorFlow."""
    loaded = LoadedModel(signature=float_signature(), predictor=DoublingModel(), kind="stand-in")
    monkeypatch.setattr(loader, "load", lambda *_, **__: loaded)
    monkeypatch.setattr(loader, "find_root", lambda path: path)
    (tmp_path / "model.keras").write_bytes(b"model")
    node = node_members.node(tmp_path)
    node_members.set_environment(monkeypatch, node)
    return node


def configuration(tmp_path: Path) -> dict[str, object]:
    return {
        "schemaVersion": 1,
        "namespace": "default",
        "model": "digits",
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": (tmp_path / "model.keras").as_uri()},
    }


def status_of(port: int, method: str, path: str, body: bytes | None = None) -> int | None:
    """Over a connection of its own; None where nobody listens any more."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request(method, path, body)
        with connection.getresponse() as answer:
            return answer.status
    except (ConnectionError, http.client.RemoteDisconnected):
        return None
    finally:
        connection.close()


async def test_a_draining_replica_stays_healthy_for_a_while_and_answers_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that has no other one of the revision goes on sending to it."""
    # On a busy machine more than the quiet time may pass between two requests.
    monkeypatch.setattr(server_thread, "DRAIN_QUIET_S", 60.0)
    node = prepare(tmp_path, monkeypatch)
    replica = Replica(configuration(tmp_path))
    await replica.reconfigure({"digest": None})
    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
    port, health = listed["port"], f"/-/healthz/{listed['name']}"
    seen: list[int | None] = []

    def ask_on() -> None:
        while None not in seen:
            answered = status_of(port, "POST", "/v1/models/digits:predict", b'{"instances":[[1,2,3,4]]}')
            seen.append(None if answered is None else status_of(port, "GET", health))
            assert answered in (200, None), (answered, seen)

    draining = asyncio.create_task(drain(replica))
    await asyncio.to_thread(ask_on)
    await draining

    unhealthy = seen.index(404)
    assert set(seen[:unhealthy]) == {200}, seen
    assert set(seen[unhealthy:]) == {404, None}, seen


def test_a_stop_takes_less_than_ray_waits_beyond_a_request() -> None:
    assert Bounds().shutdown_margin_s > replica_module.DRAIN_RESERVE_S + server_thread.CLOSING_S


async def test_a_replica_is_announced_once_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its server's loop is late, as on a busy machine: gateways send requests from then on."""
    prepare(tmp_path, monkeypatch)
    start, announce = server_thread.ServerThread.start, member.Member.announce
    answered: list[int | None] = []

    def start_late(server: server_thread.ServerThread) -> object:
        started = start(server)
        server._loop.call_soon_threadsafe(time.sleep, 0.3)
        return started

    def ask_and_announce(joined: member.Member, listed: entry.Replica) -> None:
        body = b'{"instances":[[1,2,3,4]]}'
        (plane,) = (each._dataplane for each in made)
        assert plane is not None
        assert plane.phase is dataplane.Phase.READY
        answered.append(status_of(listed.port, "POST", "/v1/models/digits:predict", body))
        announce(joined, listed)

    monkeypatch.setattr(server_thread.ServerThread, "start", start_late)
    monkeypatch.setattr(member.Member, "announce", ask_and_announce)
    made = [Replica(configuration(tmp_path))]
    await made[0].reconfigure({"digest": None})
    assert answered == [200]
    await drain(made[0])


def write_statistics(folder: Path, *, edges: list[float]) -> None:
    """An evaluation record and reference statistics beside the model."""
    of_model = digest.hash_path(folder / "model.keras")
    record = evaluation_record.EvaluationRecord(
        metric=evaluation_record.Metric.ACCURACY,
        value=0.9,
        interval=evaluation_record.wilson(9, 10),
        samples=10,
        correct=9,
        signature="serving_default",
        model_digest=of_model,
        data=evaluation_record.Data(name="heldout.npz", digest=of_model),
    )
    (folder / "evaluation.json").write_text(evaluation_record.dump(record))
    feature = {"name": "input0_3", "edges": edges, "counts": [1] * (len(edges) + 2)}
    statistics = {
        "schemaVersion": 1,
        "modelDigest": of_model,
        "signature": "serving_default",
        "features": [feature],
        "attributions": {"baselines": [0, 0, 0, 0], "shares": [1.5, 2.5, 3, 3, 0]},
    }
    (folder / "statistics.json").write_text(json.dumps(statistics))


@pytest.mark.parametrize(
    ("edges", "outcome", "counted"),
    [
        pytest.param([3.0, 5.0], "Read", {("00", 0.0), ("01", 1.0), ("02", 0.0), ("NotFinite", 0.0)}, id="good"),
        pytest.param([5.0, 3.0], "Unreadable", set(), id="edges that fall"),
    ],
)
async def test_a_replica_counts_rows_by_the_statistics_beside_its_model_and_serves_without_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    edges: list[float],
    outcome: str,
    counted: set[tuple[str, float]],
) -> None:
    node = prepare(tmp_path, monkeypatch)
    monkeypatch.setattr(loader, "find_root", lambda path: path / "model.keras")
    folder = tmp_path / "packaged"
    folder.mkdir()
    (tmp_path / "model.keras").rename(folder / "model.keras")
    write_statistics(folder, edges=edges)
    replica = Replica({**configuration(tmp_path), "source": {"uri": folder.as_uri()}})
    with caplog.at_level(logging.WARNING):
        await replica.reconfigure({"digest": None})
    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
    port, body = listed["port"], b'{"instances":[[1,2,3,4]]}'
    assert await asyncio.to_thread(status_of, port, "POST", "/v1/models/digits:predict", body) == 200
    exposition = await asyncio.to_thread(metrics_at, port)
    assert re.findall(r'fairlead_replica_reference{.*outcome="(\w+)".*} 1.0', exposition) == [outcome]
    rows = re.findall(r'fairlead_replica_sampled_rows_total{bin="(\w+)",feature="input0_3",.*} (\S+)', exposition)
    assert {(name, float(value)) for name, value in rows} == counted
    warned = "edges of input0_3 must grow" in caplog.text
    assert warned == (outcome == "Unreadable")
    await drain(replica)


async def test_a_replica_explains_predictions_as_the_operator_says_from_its_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = prepare(tmp_path, monkeypatch)
    monkeypatch.setattr(loader, "find_root", lambda path: path / "model.keras")
    folder = tmp_path / "packaged"
    folder.mkdir()
    (tmp_path / "model.keras").rename(folder / "model.keras")
    write_statistics(folder, edges=[3.0, 5.0])
    replica = Replica({**configuration(tmp_path), "source": {"uri": folder.as_uri()}})
    await replica.reconfigure({"digest": None, "explanations": {"samplesPerMinute": 1}})
    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas

    async def ask() -> None:
        body = b'{"instances":[[1,2,3,4]]}'
        assert await asyncio.to_thread(status_of, listed["port"], "POST", "/v1/models/digits:predict", body) == 200

    def explained() -> dict[str, float]:
        """The shares that were counted. The model doubles each number, so the last one decides the highest score."""
        found = re.findall(
            r'fairlead_replica_sampled_rows_total{bin="(\w+)",feature="attribution",.*} (\S+)',
            metrics_at(listed["port"]),
        )
        return {name: float(value) for name, value in found}

    await ask()
    await asyncio.to_thread(until, lambda: explained()["03"] == 1, "the row is explained")
    assert explained() == {"00": 0, "01": 0, "02": 0, "03": 1, "Nothing": 0}
    await replica.reconfigure({"digest": None, "explanations": None})
    await replica.reconfigure({"digest": None, "explanations": {"samplesPerMinute": 60}})
    await ask()
    await asyncio.to_thread(until, lambda: explained()["03"] == 2, "another row is explained after the change")
    await drain(replica)


async def test_a_replica_keeps_its_model_in_the_cache_and_reports_evicted_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = prepare(tmp_path, monkeypatch)
    root = tmp_path / "cache"
    unused = root / ("sha256-" + "0" * 64)
    unused.mkdir(parents=True)
    (unused / "data").write_bytes(bytes(5000))
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(root))
    monkeypatch.setenv("FAIRLEAD_CACHE_BYTES", "1000")
    replica = Replica(configuration(tmp_path))
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


async def test_the_example_of_the_configuration_is_the_replicas_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "HEALTHY_S", 0.0)
    prepare(tmp_path, monkeypatch)
    replica = Replica({**configuration(tmp_path), "example": '{"instances": [[1, 2, 3, 4]]}'})
    await replica.reconfigure({"digest": None})
    ready = replica._prepared
    assert ready is not None
    assert ready.warm_up.example is not None
    assert ready.warm_up.example[0].tolist() == [[1, 2, 3, 4]]
    await drain(replica)


async def test_a_replica_waits_while_its_revision_fails_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(failed_starts, "FREE", 0)
    monkeypatch.setattr(failed_starts, "FIRST_S", 0.5)
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(tmp_path / "cache"))
    prepare(tmp_path, monkeypatch)
    (tmp_path / "model.keras").rename(tmp_path / "moved.keras")
    with pytest.raises(LoadError, match="ModelNotFound"):
        await Replica(configuration(tmp_path)).reconfigure(None)
    (tmp_path / "moved.keras").rename(tmp_path / "model.keras")

    replica, began_s = Replica(configuration(tmp_path)), time.monotonic()
    await replica.reconfigure(None)
    assert time.monotonic() - began_s >= 0.4
    await drain(replica)
    assert not list((tmp_path / "cache" / failed_starts.FOLDER).iterdir()), "a start ends the failures"


async def test_the_payload_log_begins_and_ends_with_what_the_operator_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And by the platform's rules: without a sink in them, nothing is sent."""
    node = prepare(tmp_path, monkeypatch)
    replica = Replica(configuration(tmp_path))
    await replica.reconfigure({"digest": None})
    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas

    async def ask() -> None:
        body = b'{"instances":[[1,2,3,4]]}'
        assert await asyncio.to_thread(status_of, listed["port"], "POST", "/v1/models/digits:predict", body) == 200

    def count(outcome: str) -> int:
        text = metrics_at(listed["port"])
        found = re.search(
            rf'^fairlead_replica_payload_events_total{{.*outcome="{outcome}".*}} (.*)$', text, re.MULTILINE
        )
        return int(float(found.group(1))) if found else -1

    with payload_sink.receiving() as sink:
        logged = {"digest": None, "payloads": {"url": sink.url, "samplePercent": 100}}
        assert await asyncio.to_thread(count, "Sent") == -1
        await replica.reconfigure(logged)
        await ask()
        await asyncio.to_thread(until, lambda: count("NotAllowed") == 1, "the sink is not allowed")
        assert sink.requests == []
        await replica.reconfigure({"digest": None, "payloads": None})
        monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_HOSTS", "127.0.0.1")
        monkeypatch.setenv("FAIRLEAD_PAYLOAD_SINK_NETWORKS", "127.0.0.0/8")
        await replica.reconfigure(logged)
        await ask()
        (event,) = await asyncio.to_thread(sink.events, 1)
        assert event["data"]["inputs"][0]["data"] == [1, 2, 3, 4]
        await replica.reconfigure({"digest": None, "payloads": {"url": sink.url, "samplePercent": "a tenth"}})
        await ask()
        assert "the payload log is off: user_config.payloads: samplePercent: Input should be" in caplog.text
        # What waits when the replica stops is sent first.
        await replica.reconfigure(logged)
        await ask()
        await drain(replica)
        assert len(await asyncio.to_thread(sink.events, 2)) == 2


async def test_the_payload_log_is_on_before_the_replica_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways send requests as soon as it is."""
    prepare(tmp_path, monkeypatch)
    replica = Replica(configuration(tmp_path))
    found: list[bool] = []
    announce = member.Member.announce

    def observe(self: member.Member, described: entry.Replica) -> None:
        log = replica._payloads
        found.append(log is not None and log.is_on)
        announce(self, described)

    monkeypatch.setattr(member.Member, "announce", observe)
    await replica.reconfigure({"digest": None, "payloads": {"url": "http://127.0.0.1:1", "samplePercent": 100}})
    assert found == [True]
    await drain(replica)


async def test_a_sink_that_can_be_none_does_not_stop_a_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = prepare(tmp_path, monkeypatch)
    replica = Replica(configuration(tmp_path))
    unset = {"digest": None, "payloads": {"url": "http://[:::]/x", "samplePercent": 100}}
    for _ in range(2):
        await replica.reconfigure(unset)
        (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
        body = b'{"instances":[[1,2,3,4]]}'
        assert await asyncio.to_thread(status_of, listed["port"], "POST", "/v1/models/digits:predict", body) == 200
    assert "the payload log is off: user_config.payloads: url" in caplog.text
    await drain(replica)
