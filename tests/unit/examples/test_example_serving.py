"""Each family, packed by `fairlead package`, is served by a replica that gives the model's own answers."""

from __future__ import annotations

import asyncio
import http.client
import json
import pathlib
import tarfile
from typing import Any

import numpy as np
import pytest
import yaml
from tests.support import node_members
from tests.support.replica_drain import drain
from typer.testing import CliRunner

from fairlead_cli import main
from fairlead_runtime.replica import Replica

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
FAMILIES = ("dense", "cnn", "lstm", "gru", "attention")


def package(folder: pathlib.Path, model: str, out: pathlib.Path) -> dict[str, Any]:
    """The source that the printed manifest names."""
    given = [str(folder / model), str(folder / "heldout.npz"), "--reference", str(folder / "reference.npz")]
    result = CliRunner().invoke(main.app, ["package", *given, "--name", "example", "--out", str(out)])
    assert result.exit_code == 0, result.output
    named: dict[str, Any] = yaml.safe_load(result.stdout)["spec"]["model"]
    return {"uri": named["uri"], "digest": named["digest"]}


def infer(port: int, body: bytes) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v2/models/example/infer", body)
        with connection.getresponse() as answer:
            assert answer.status == 200, answer.read()
            return json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("family", "model"),
    [
        *((family, "saved_model") for family in FAMILIES),
        ("dense", "model.keras"),
        *(pytest.param(family, "model.keras", marks=pytest.mark.nightly) for family in FAMILIES[1:]),
    ],
)
async def test_a_replica_answers_the_example_of_the_archive_as_the_trained_model_did(
    trained: dict[str, pathlib.Path], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, family: str, model: str
) -> None:
    archive = tmp_path / "example.tar.gz"
    source = package(trained[family], model, archive)
    with tarfile.open(archive) as packed:
        member = packed.extractfile("example.json")
        assert member is not None
        request = member.read()
    node = node_members.node(tmp_path)
    node_members.set_environment(monkeypatch, node)
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(tmp_path / "cache"))
    raw = {"schemaVersion": 1, "namespace": "default", "model": "example", "revision": "a" * 10, "revisionNumber": 1}
    replica = Replica({**raw, "source": source})
    await replica.reconfigure({"digest": None})
    (listed,) = (await asyncio.to_thread(node_members.ask, node)).replicas

    answer = await asyncio.to_thread(infer, listed["port"], request)

    with np.load(trained[family] / "heldout.npz") as kept:
        rows = json.loads(request)["inputs"][0]["shape"][0]
        expected = kept["outputs"][:rows]
    (output,) = answer["outputs"]
    np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected, rtol=1e-4, atol=1e-5)
    await drain(replica)
