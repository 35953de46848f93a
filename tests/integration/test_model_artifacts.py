"""Models of a real OCI registry: files and archives, with the credentials that a Secret has."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import object_servers, registry_server

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched
from fairlead_runtime.model.fetching.access import Access

pytestmark = pytest.mark.real

BOUNDS = Bounds(bytes_max=10_000_000, entries_max=50, idle_s=20, total_s=120)
SAVED = {"saved_model.pb": b"graph", "variables/variables.index": b"index"}


def _packed(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return raw.getvalue()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry_server.Registry]:
    with registry_server.serving(tmp_path_factory.mktemp("registry") / "server") as served:
        served.push("models/digits", "keras", {"digits.keras": b"a file"})
        served.push("models/digits", "folder", SAVED)
        served.push("models/digits", "packed", {"digits.tar.gz": _packed(SAVED)})
        yield served


def fetch(registry: registry_server.Registry, tmp_path: Path, name: str, secret: dict[str, str] | None) -> Fetched:
    if secret is not None and not (tmp_path / "secrets").exists():
        object_servers.write_secret(tmp_path / "secrets", "registry", secret)
    access: Access = object_servers.access(registry.url, tmp_path / "secrets", "registry" if secret else None)
    kept = Cache(tmp_path / "cache", bytes_max=10**9)
    return source.fetch(f"oci://registry.example.org/models/{name}", None, kept, BOUNDS, access=access)


def test_a_file_a_folder_and_an_archive_are_read(registry: registry_server.Registry, tmp_path: Path) -> None:
    assert fetch(registry, tmp_path, "digits:keras", registry_server.SECRET).path.read_bytes() == b"a file"
    for name in ("digits:folder", "digits:packed"):
        found = fetch(registry, tmp_path, name, registry_server.SECRET).path
        files = {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()}
        assert files == SAVED


def test_a_digest_names_what_a_tag_named_before(registry: registry_server.Registry, tmp_path: Path) -> None:
    first = registry.push("models/moving", "v1", {"m.keras": b"one"})
    registry.push("models/moving", "v1", {"m.keras": b"two"})
    assert fetch(registry, tmp_path, "moving:v1", registry_server.SECRET).path.read_bytes() == b"two"
    assert fetch(registry, tmp_path, f"moving@{first}", registry_server.SECRET).path.read_bytes() == b"one"


@pytest.mark.parametrize(
    ("name", "secret", "reason"),
    [
        ("digits:absent", registry_server.SECRET, LoadReason.MODEL_NOT_FOUND),
        ("digits:keras", {"username": "me", "password": "another"}, LoadReason.MODEL_FORBIDDEN),
        ("digits:keras", None, LoadReason.MODEL_FORBIDDEN),
    ],
)
def test_what_is_not_there_or_not_allowed_is_refused(
    registry: registry_server.Registry, tmp_path: Path, name: str, secret: dict[str, str] | None, reason: LoadReason
) -> None:
    with pytest.raises(LoadError) as raised:
        fetch(registry, tmp_path, name, secret)
    assert raised.value.reason is reason, raised.value.sentence
