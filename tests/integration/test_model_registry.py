"""Models of a real MLflow registry: by version, alias and stage, with artifacts on the server and in a bucket."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from tests.support import mlflow_server, object_servers

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched
from fairlead_runtime.model.fetching.access import Access

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

BOUNDS = Bounds(bytes_max=10_000_000, entries_max=50, idle_s=20, total_s=120)
DESCRIPTION = {"MLmodel": b"flavors: {}\n", "requirements.txt": b"keras\n"}
KERAS = {**DESCRIPTION, "data/model.keras": b"version 1", "data/keras_module.txt": b"keras"}
SAVED = {**DESCRIPTION, "tf2model/saved_model.pb": b"graph", "tf2model/variables/variables.index": b"index"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mlflow_server.Registry]:
    with mlflow_server.serving(tmp_path_factory.mktemp("mlflow") / "server") as served:
        assert served.register("digits", KERAS) == "1"
        assert served.register("digits", {**KERAS, "data/model.keras": b"version 2"}) == "2"
        served.give_alias("digits", "champion", "1")
        served.move_to_stage("digits", "Production", "2")
        served.register("a saved one", SAVED)
        served.register("sklearn", {**DESCRIPTION, "model.pkl": b"pickled"})
        yield served


def fetch(uri: str, access: Access, tmp_path: Path) -> Fetched:
    return source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("models:/digits/1", b"version 1"),
        ("models:/digits/2", b"version 2"),
        ("models:/digits@champion", b"version 1"),
        ("models:/digits/Production", b"version 2"),
    ],
)
def test_a_version_an_alias_and_a_stage_lead_to_the_keras_file(
    registry: mlflow_server.Registry, tmp_path: Path, uri: str, content: bytes
) -> None:
    assert fetch(uri, object_servers.access(registry.url, tmp_path), tmp_path).path.read_bytes() == content


def test_a_saved_model_is_the_folder_without_what_mlflow_keeps_beside_it(
    registry: mlflow_server.Registry, tmp_path: Path
) -> None:
    found = fetch("models:/a%20saved%20one/1", object_servers.access(registry.url, tmp_path), tmp_path)
    assert sorted(path.name for path in found.path.iterdir()) == ["saved_model.pb", "variables"]


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("models:/digits/9", LoadReason.MODEL_NOT_FOUND),
        ("models:/absent/1", LoadReason.MODEL_NOT_FOUND),
        ("models:/digits@nobody", LoadReason.MODEL_NOT_FOUND),
        ("models:/digits/Staging", LoadReason.MODEL_NOT_FOUND),
        ("models:/sklearn/1", LoadReason.FORMAT_MISMATCH),
    ],
)
def test_what_the_registry_does_not_have_is_refused(
    registry: mlflow_server.Registry, tmp_path: Path, uri: str, reason: LoadReason
) -> None:
    with pytest.raises(LoadError) as raised:
        fetch(uri, object_servers.access(registry.url, tmp_path), tmp_path)
    assert raised.value.reason is reason, raised.value.sentence


def test_artifacts_in_a_bucket_are_read_with_the_same_secret(registry: mlflow_server.Registry, tmp_path: Path) -> None:
    with object_servers.s3_server(tmp_path / "s3") as url:
        for name, content in KERAS.items():
            obstore.put(object_servers.s3_store(url), f"mlflow/digits/{name}", content)
        version = registry.register_at("in a bucket", "s3://models/mlflow/digits")
        values = {**object_servers.S3_SECRET, "AWS_ENDPOINT_URL": url}
        object_servers.write_secret(tmp_path / "secrets", "reader", values)
        access = object_servers.access(registry.url, tmp_path / "secrets", "reader")
        assert fetch(f"models:/in%20a%20bucket/{version}", access, tmp_path).path.read_bytes() == b"version 1"


def test_artifacts_that_no_server_serves_are_refused_with_what_is(
    registry: mlflow_server.Registry, tmp_path: Path
) -> None:
    version = registry.register_at("elsewhere", "dbfs:/models/digits")
    with pytest.raises(LoadError, match="mlflow server --serve-artifacts"):
        fetch(f"models:/elsewhere/{version}", object_servers.access(registry.url, tmp_path), tmp_path)


def test_a_server_that_is_no_registry_is_refused(registry: mlflow_server.Registry, tmp_path: Path) -> None:
    access = object_servers.access(f"{registry.url}/static-files", tmp_path)
    with pytest.raises(LoadError):
        fetch("models:/digits/1", dataclasses.replace(access), tmp_path)
