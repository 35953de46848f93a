"""Models on mounted claims, and paths that must not be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import object_servers

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache, Fetched
from fairlead_runtime.model.fetching.access import Access

BOUNDS = Bounds(bytes_max=1_000_000)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    model = tmp_path / "claims/models/digits/3"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "claims/models/latest").symlink_to("digits/3")
    (tmp_path / "claims/models/out").symlink_to("../..")
    (tmp_path / "elsewhere").write_bytes(b"not on the claim")
    object_servers.write_secret(tmp_path / "secrets", "reader", {"token": "abc"})
    return Access(claims_dir=tmp_path / "claims", secrets_dir=tmp_path / "secrets")


def fetch(uri: str, access: Access, tmp_path: Path) -> Fetched:
    return source.fetch(uri, None, Cache(tmp_path / "cache", bytes_max=10**9), BOUNDS, access=access)


@pytest.mark.parametrize("path", ["digits/3", "digits/3/", "latest", "digits%2F3"])
def test_a_folder_on_a_claim_is_read(access: Access, tmp_path: Path, path: str) -> None:
    assert (fetch(f"pvc://models/{path}", access, tmp_path).path / "saved_model.pb").read_bytes() == b"graph"


@pytest.mark.parametrize(
    ("uri", "reason", "words"),
    [
        ("pvc://models/absent", LoadReason.MODEL_NOT_FOUND, "there is no file or folder"),
        ("pvc://other/digits/3", LoadReason.MODEL_NOT_FOUND, "spec.sources.volumeClaimNames"),
        ("pvc://../secrets", LoadReason.MODEL_NOT_FOUND, "spec.sources.volumeClaimNames"),
        ("pvc:///digits", LoadReason.MODEL_NOT_FOUND, "spec.sources.volumeClaimNames"),
        ("pvc://models/../../elsewhere", LoadReason.UNSAFE_MODEL, "leads out of the claim's volume"),
        ("pvc://models/%2e%2e/%2e%2e/elsewhere", LoadReason.UNSAFE_MODEL, "leads out of the claim's volume"),
        ("pvc://models/out/elsewhere", LoadReason.UNSAFE_MODEL, "leads out of the claim's volume"),
    ],
)
def test_what_is_not_on_a_mounted_claim_is_refused(
    access: Access, tmp_path: Path, uri: str, reason: LoadReason, words: str
) -> None:
    with pytest.raises(LoadError) as raised:
        fetch(uri, access, tmp_path)
    assert (raised.value.reason, words in raised.value.sentence) == (reason, True), raised.value.sentence


def test_without_claims_the_field_that_mounts_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"spec\.sources\.volumeClaimNames of the ServingClass"):
        fetch("pvc://models/digits/3", Access(), tmp_path)


@pytest.mark.parametrize("path", ["secrets/reader/token", "secrets/reader", "secrets", "", "link"])
def test_a_secret_of_the_node_is_no_model(access: Access, tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("secrets/reader")
    with pytest.raises(LoadError, match="from which no model is read") as refused:
        fetch((tmp_path / path).as_uri(), access, tmp_path)
    assert refused.value.reason is LoadReason.MODEL_FORBIDDEN


@pytest.mark.parametrize(
    "path",
    ["/proc/self/environ", "/proc/self/task", "/sys/kernel", "/dev/shm", "/etc/passwd", "/run/secrets/x", "/"],
)
def test_a_folder_of_the_system_is_no_model(tmp_path: Path, path: str) -> None:
    with pytest.raises(LoadError) as refused:
        fetch(f"file://{path}", Access(), tmp_path)
    assert refused.value.reason is LoadReason.MODEL_FORBIDDEN, refused.value.sentence


def test_a_pipe_is_no_model_and_nobody_waits_at_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError) as refused:
        fetch((tmp_path / "pipe").as_uri(), Access(), tmp_path)
    assert refused.value.reason is LoadReason.UNSAFE_MODEL, refused.value.sentence


def test_another_model_in_the_cache_is_no_model(access: Access, tmp_path: Path) -> None:
    other = fetch("pvc://models/digits/3", access, tmp_path)
    (tmp_path / "link").symlink_to(other.path)
    for path in (other.path, other.path / "saved_model.pb", tmp_path / "link", tmp_path / "cache"):
        with pytest.raises(LoadError, match=f"is in {tmp_path / 'cache'}, from which no model is read"):
            fetch(path.as_uri(), access, tmp_path)


class ChangedMeanwhile(Cache):
    """Room is made between the look at a source and its copying; `change` is what another process does then."""

    def __init__(self, root: Path, change: Callable[[], None]) -> None:
        super().__init__(root, bytes_max=10**9)
        self._change = change

    def make_room(self, needed_bytes: int) -> None:
        super().make_room(needed_bytes)
        if needed_bytes == len(b"graph"):
            self._change()


@pytest.mark.parametrize("scheme", ["pvc", "file"])
@pytest.mark.parametrize(
    ("uri", "replaced", "target"),
    [
        ("digits", "digits/3/token", "secrets/reader/token"),
        ("digits", "digits/3", "secrets/reader"),
        ("digits/3/token", "digits/3/token", "secrets/reader/token"),
        ("digits/3/token", "digits/3", "secrets/reader"),
        ("digits", "digits/3", "outside"),
        ("digits/3/token", "digits/3", "outside"),
    ],
)
def test_a_source_that_becomes_a_link_while_it_is_copied_is_refused(
    access: Access, tmp_path: Path, scheme: str, uri: str, replaced: str, target: str
) -> None:
    claim = tmp_path / "claims/models"
    (claim / "digits/3/saved_model.pb").rename(claim / "digits/3/token")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/token").write_bytes(b"not on the claim")

    def change() -> None:
        (claim / replaced).rename(claim / "away")
        (claim / replaced).symlink_to(tmp_path / target)

    full = f"pvc://models/{uri}" if scheme == "pvc" else (claim / uri).as_uri()
    with pytest.raises(LoadError) as raised:
        source.fetch(full, None, ChangedMeanwhile(tmp_path / "cache", change), BOUNDS, access=access)
    assert raised.value.reason in (LoadReason.UNSAFE_MODEL, LoadReason.MODEL_FORBIDDEN), raised.value.sentence
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]
