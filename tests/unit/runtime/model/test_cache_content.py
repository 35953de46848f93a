"""What the cache gives is what its digest says, whatever stands in its folder; and the folder is nobody else's."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import digest, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache

BOUNDS = Bounds(bytes_max=10_000_000, total_s=60)
NOWHERE = "file:///nowhere/at/all"


def folder(root: Path) -> Path:
    (root / "model" / "variables").mkdir(parents=True)
    (root / "model" / "saved_model.pb").write_bytes(b"good")
    (root / "model" / "variables" / "data").write_bytes(b"numbers")
    return root / "model"


def keras_file(root: Path) -> Path:
    (root / "model.keras").write_bytes(b"the bytes of a Keras file")
    return root / "model.keras"


def packed(root: Path) -> Path:
    with tarfile.open(root / "m.tar.gz", "w:gz") as made:
        for name in ("saved_model.pb", "variables/data"):
            info = tarfile.TarInfo(name)
            info.size = 4
            made.addfile(info, io.BytesIO(b"good"))
    return root / "m.tar.gz"


def kept(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", bytes_max=1_000_000_000)


def change(entry: Path) -> None:
    """One file of the content, and whatever record there could be of it."""
    content = next(path for path in (entry / "model.keras", entry / "model" / "saved_model.pb") if path.exists())
    content.write_bytes(b"EVIL")
    root = entry / "model" if (entry / "model").exists() else content
    (entry / "meta.json").write_text(json.dumps({"content": root.name, "tree": digest.hash_path(root)}))


def change_archive(entry: Path) -> None:
    """The content with an archive that fits it."""
    change(entry)
    with tarfile.open(entry / "archive", "w:gz") as made:
        for path in sorted((entry / "model").rglob("*")) if (entry / "model").exists() else ():
            made.add(path, path.relative_to(entry / "model").as_posix(), recursive=False)


def add(entry: Path) -> None:
    (entry / "model").mkdir(exist_ok=True)
    (entry / "model" / "more").write_bytes(b"EVIL")


def remove_archive(entry: Path) -> None:
    change(entry)
    (entry / "archive").unlink(missing_ok=True)


CHANGES = [change, change_archive, add, remove_archive]


@pytest.mark.parametrize("make", [folder, keras_file, packed])
@pytest.mark.parametrize("spoil", CHANGES)
def test_a_pinned_digest_never_returns_other_content(
    tmp_path: Path, make: Callable[[Path], Path], spoil: Callable[[Path], None]
) -> None:
    given = make(tmp_path)
    first = source.fetch(given.as_uri(), None, kept(tmp_path), BOUNDS)
    first.lease.close()
    second = source.fetch(NOWHERE, first.digest, kept(tmp_path), BOUNDS)
    assert second.path == first.path, "as it was stored it is found, without its source"
    before = digest.hash_path(second.path)
    second.lease.close()

    spoil(second.path.parent)
    if digest.hash_path(second.path) == before:
        # What was added is no part of this content.
        assert source.fetch(NOWHERE, first.digest, kept(tmp_path), BOUNDS).path == first.path
        return
    with pytest.raises(LoadError) as refused:
        source.fetch(NOWHERE, first.digest, kept(tmp_path), BOUNDS)
    assert refused.value.reason is LoadReason.MODEL_NOT_FOUND
    restored = source.fetch(given.as_uri(), first.digest, kept(tmp_path), BOUNDS)
    assert digest.hash_path(restored.path) == before


def test_the_digest_of_an_archive_is_the_hash_of_its_bytes(tmp_path: Path) -> None:
    given = packed(tmp_path)
    fetched = source.fetch(given.as_uri(), None, kept(tmp_path), BOUNDS)
    assert fetched.digest == "sha256:" + hashlib.sha256(given.read_bytes()).hexdigest()
    assert (fetched.path / "saved_model.pb").read_bytes() == b"good"


def fetched_with(tmp_path: Path) -> str:
    with pytest.raises(LoadError) as refused:
        source.fetch(folder(tmp_path).as_uri(), None, kept(tmp_path), BOUNDS)
    assert refused.value.reason is LoadReason.CONFIG_INVALID
    assert refused.value.sentence.startswith("FAIRLEAD_CACHE_DIR: ")
    return refused.value.sentence


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_cache_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    assert "chmod go-w" in fetched_with(tmp_path)


def test_a_cache_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir(mode=0o700)
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert f"not to {other}" in fetched_with(tmp_path)


def test_a_link_as_cache_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "cache").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in fetched_with(tmp_path)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_new_cache_folder_is_private_to_its_user(tmp_path: Path) -> None:
    source.fetch(folder(tmp_path).as_uri(), None, kept(tmp_path), BOUNDS)
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
