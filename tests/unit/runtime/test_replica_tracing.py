"""A whole replica with a collector of spans, and one without: nothing of tracing is in its process."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support import authorities, node_members
from tests.support.replica_drain import drain
from tests.support.replica_parts import DoublingModel, float_signature
from tests.support.span_collector import attributes, collecting

import fairlead_spans
from fairlead_runtime import config, tracing
from fairlead_runtime.model import loader
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.replica import Replica

PREDICT = "/v1/models/digits:predict"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
LISTS_WHAT_IS_THERE = f"""
import asyncio, json, os, sys, threading
from pathlib import Path
from tests.support.replica_drain import drain
from tests.support.replica_parts import DoublingModel, float_signature
from fairlead_runtime.model import loader
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.replica import Replica

loader.load = lambda *_, **__: LoadedModel(signature=float_signature(), predictor=DoublingModel(), kind="stand-in")
loader.find_root = lambda path: path

async def main():
    replica = Replica(json.loads(sys.argv[1]))
    await replica.reconfigure({{"digest": None}})
    import http.client
    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", replica._server.port, timeout=60)
        headers = {{"traceparent": "00-{TRACE}-{SPAN}-01"}}
        connection.request("POST", "{PREDICT}", b'{{"instances":[[1,2,3,4]]}}', headers)
        assert connection.getresponse().status == 200
    await asyncio.to_thread(ask)
    print(json.dumps([sorted(sys.modules), [each.name for each in threading.enumerate()]]))
    await drain(replica)

asyncio.run(main())
"""


def configuration(folder: Path) -> dict[str, object]:
    (folder / "model.keras").write_bytes(b"model")
    return {
        "schemaVersion": 1,
        "namespace": "default",
        "model": "digits",
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": (folder / "model.keras").as_uri()},
    }


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> config.NodeEnvironment:
    loaded = LoadedModel(signature=float_signature(), predictor=DoublingModel(), kind="stand-in")
    monkeypatch.setattr(loader, "load", lambda *_, **__: loaded)
    monkeypatch.setattr(loader, "find_root", lambda path: path)
    node = node_members.node(folder)
    node_members.set_environment(monkeypatch, node)
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(folder / "cache"))
    return node


def ask(port: int, method: str, path: str, headers: dict[str, str]) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request(method, path, b'{"instances":[[1,2,3,4]]}' if method == "POST" else None, headers)
        with connection.getresponse() as answer:
            assert answer.status == 200
            return answer.read()
    finally:
        connection.close()


async def test_a_replica_sends_what_it_recorded_before_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = prepare(tmp_path, monkeypatch)
    with collecting() as collector:
        monkeypatch.setenv("FAIRLEAD_TRACES_ENDPOINT", collector.url)
        monkeypatch.setenv("FAIRLEAD_TRACES_SAMPLE_PERCENT", "0")
        replica = Replica(configuration(tmp_path))
        await replica.reconfigure({"digest": None})
        (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        await asyncio.to_thread(ask, listed["port"], "POST", PREDICT, headers)
        await asyncio.to_thread(ask, listed["port"], "POST", PREDICT, {})
        counted = (await asyncio.to_thread(ask, listed["port"], "GET", "/metrics", {})).decode()
        await drain(replica)
        (own,) = await asyncio.to_thread(collector.wait_for, "predict")
        resource = collector.resource()
    assert "fairlead_replica_spans_total{" in counted
    assert (own.trace_id.hex(), own.parent_span_id.hex()) == (TRACE, SPAN)
    assert attributes(own.attributes)["fairlead.revision"] == "a" * 10
    assert resource["service.instance.id"] == listed["name"]
    assert [span.name for span in collector.spans()] == ["predict", "parse", "queue", "compute", "encode"]
    assert not [each for each in threading.enumerate() if each.name == "fairlead-spans"]


@pytest.mark.parametrize("cause", ["FAIRLEAD_CA_FILE", "FAIRLEAD_TRACES_CA_FILE", "opentelemetry"])
async def test_a_replica_that_can_send_no_spans_serves_without(
    cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = prepare(tmp_path, monkeypatch)
    if cause == "opentelemetry":
        # As in an image that lacks the package.
        for package in (tracing, fairlead_spans):
            for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.")]:
                monkeypatch.delitem(sys.modules, name)
                monkeypatch.delattr(package, name.rpartition(".")[2], raising=False)
        monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.trace.v1", None)
    else:
        (tmp_path / "ca.crt").write_text("no certificate")
        monkeypatch.setenv(cause, str(tmp_path / "ca.crt"))
    monkeypatch.setenv("FAIRLEAD_TRACES_ENDPOINT", "https://collector:4318")
    replica = Replica(configuration(tmp_path))
    await replica.reconfigure({"digest": None})
    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
    await asyncio.to_thread(ask, listed["port"], "POST", PREDICT, {"traceparent": f"00-{TRACE}-{SPAN}-01"})
    counted = (await asyncio.to_thread(ask, listed["port"], "GET", "/metrics", {})).decode()
    await drain(replica)
    (logged,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "serving without spans" in logged.getMessage()
    assert cause in logged.getMessage()
    assert "\n" not in logged.getMessage()
    assert "fairlead_replica_spans_total{" not in counted


async def test_a_collector_without_https_needs_no_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = prepare(tmp_path, monkeypatch)
    monkeypatch.setenv("FAIRLEAD_CA_FILE", str(tmp_path / "nothing.crt"))
    with collecting() as collector:
        monkeypatch.setenv("FAIRLEAD_TRACES_ENDPOINT", collector.url)
        replica = Replica(configuration(tmp_path))
        await replica.reconfigure({"digest": None})
        (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
        await asyncio.to_thread(ask, listed["port"], "POST", PREDICT, {"traceparent": f"00-{TRACE}-{SPAN}-01"})
        await drain(replica)
        await asyncio.to_thread(collector.wait_for, "predict")


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_collector_by_https_is_trusted_by_the_authorities_for_collectors(
    is_trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = prepare(tmp_path, monkeypatch)
    (tmp_path / "other").mkdir()
    authority, other = authorities.make(tmp_path), authorities.make(tmp_path / "other")
    with collecting(authority.server(tmp_path)) as collector:
        monkeypatch.setenv("FAIRLEAD_TRACES_ENDPOINT", collector.url)
        # The authority for models is another one.
        monkeypatch.setenv("FAIRLEAD_CA_FILE", str(other.file))
        monkeypatch.setenv("FAIRLEAD_TRACES_CA_FILE", str((authority if is_trusted else other).file))
        replica = Replica(configuration(tmp_path))
        await replica.reconfigure({"digest": None})
        (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas
        await asyncio.to_thread(ask, listed["port"], "POST", PREDICT, {"traceparent": f"00-{TRACE}-{SPAN}-01"})
        await drain(replica)
        if is_trusted:
            await asyncio.to_thread(collector.wait_for, "predict")
        counted = replica._metrics.spans
        assert counted is not None
        assert (counted.sent, counted.failed) == ((5, 0) if is_trusted else (0, 5))
    logged = [each.getMessage() for each in caplog.records if "spans could not be sent" in each.getMessage()]
    assert len(logged) == (0 if is_trusted else 1)


def test_without_a_collector_nothing_of_tracing_is_in_the_process(tmp_path: Path) -> None:
    environment = {**node_members.variables(node_members.node(tmp_path)), "FAIRLEAD_CACHE_DIR": str(tmp_path / "cache")}
    given = json.dumps(configuration(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", LISTS_WHAT_IS_THERE, given],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(node_members.ROOT), **environment},
        cwd=node_members.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    modules, threads = json.loads(done.stdout)
    # Ray Serve imports the API of OpenTelemetry, for itself.
    assert [
        name
        for name in modules
        if name.startswith(("fairlead_runtime.tracing", "fairlead_spans.exporter", "opentelemetry.proto"))
    ] == []
    assert "fairlead-spans" not in threads
