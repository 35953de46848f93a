"""Archives made to take memory or to hide damage, read within bounds and to their end."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead_runtime.config import ModelFormat
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import archive, digest, loader, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache

MIB = 1024 * 1024
BOUNDS = Bounds(bytes_max=64 * MIB, entries_max=100)
WORDS = b" ".join(b"%d words" % (i * 7919 % 1000) for i in range(40_000))


def tar_of(*members: tuple[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as made:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def reason_of(call: Callable[[], object]) -> LoadReason:
    with pytest.raises(LoadError) as error:
        call()
    return error.value.reason


def with_header(kind: bytes, size: int) -> bytes:
    """A small file behind an extended header of so many bytes, compressed."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, size
    record = b"%d comment=" % size
    body = (record + b"a" * (size - len(record) - 1) + b"\n").ljust(-(-size // 512) * 512, b"\0")
    return gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + body + tar_of(("saved_model.pb", b"graph")), 1)


@pytest.mark.parametrize(
    "kind",
    [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK],
)
def test_a_large_tar_header_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    given = tmp_path / "m.tar.gz"
    given.write_bytes(with_header(kind, 48 * MIB))
    tracemalloc.start()
    try:
        refused = reason_of(lambda: archive.extract(given, tmp_path / "out", BOUNDS))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused is LoadReason.MODEL_TOO_LARGE
    assert peak < 8 * MIB


def test_long_names_in_ordinary_headers_are_read(tmp_path: Path) -> None:
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        given, out = tmp_path / f"m{form}.tar", tmp_path / f"out{form}"
        name = "m/" + "n" * 150 + "ä"
        with tarfile.open(given, "w", format=form) as made:
            info = tarfile.TarInfo(name)
            info.size = 1
            made.addfile(info, io.BytesIO(b"1"))
        archive.extract(given, out, BOUNDS)
        assert (out / name).read_bytes() == b"1"
        assert archive.tree_digest(given, BOUNDS) == digest.hash_path(out)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
@pytest.mark.parametrize("where", ["middle", "check sum"])
def test_a_damaged_compressed_archive_is_refused(tmp_path: Path, pack: Callable[[bytes], bytes], where: str) -> None:
    raw = bytearray(pack(tar_of(("saved_model.pb", WORDS))))
    at = len(raw) // 2 if where == "middle" else len(raw) - 8
    for i in range(at, min(at + 4, len(raw))):
        raw[i] ^= 0xFF
    given = tmp_path / "m.tar"
    given.write_bytes(raw)
    kept = Cache(tmp_path / "cache", bytes_max=1_000_000_000)
    assert reason_of(lambda: source.fetch(given.as_uri(), None, kept, BOUNDS)) is LoadReason.MODEL_CORRUPT
    assert not list((tmp_path / "cache").glob("sha256-*"))


def test_bytes_after_the_end_of_a_tar_count_as_unpacked(tmp_path: Path) -> None:
    given = tmp_path / "m.tar.gz"
    given.write_bytes(gzip.compress(tar_of(("saved_model.pb", b"g")) + bytes(80 * MIB), 1))
    assert reason_of(lambda: archive.extract(given, tmp_path / "out", BOUNDS)) is LoadReason.MODEL_TOO_LARGE


def test_a_zip_of_many_entries_is_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "m.zip"
    with zipfile.ZipFile(given, "w") as made:
        for i in range(5000):
            made.writestr(f"d/{i}", b"")
    listed: list[object] = []
    plain = zipfile.ZipInfo.__init__
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda self, *given: (listed.append(self), plain(self, *given))[1])
    for call in (
        lambda: archive.is_archive(given, BOUNDS),
        lambda: archive.extract(given, tmp_path / "out", BOUNDS),
        lambda: loader.load(given, ModelFormat.KERAS, None, BOUNDS, threads=1),
    ):
        assert reason_of(call) is LoadReason.MODEL_TOO_LARGE
    assert not listed


def test_the_entries_of_a_zip_are_counted_whatever_its_directory_announces(tmp_path: Path) -> None:
    given = tmp_path / "m.zip"
    with zipfile.ZipFile(given, "w") as made:
        for i in range(500):
            made.writestr(f"d/{i}", b"")
    raw = bytearray(given.read_bytes())
    raw[-14:-10] = bytes(4)  # entries on this disk, entries in all
    given.write_bytes(raw)
    assert reason_of(lambda: archive.is_archive(given, BOUNDS)) is LoadReason.MODEL_TOO_LARGE


@pytest.mark.parametrize("name", ["a\nb", "a\x7f", "a\x1b[2Jb"])
def test_a_name_with_control_characters_is_refused(tmp_path: Path, name: str) -> None:
    given = tmp_path / "m.tar"
    given.write_bytes(tar_of((name, b"1")))
    assert reason_of(lambda: archive.extract(given, tmp_path / "out", BOUNDS)) is LoadReason.UNSAFE_MODEL
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_bytes(b"1")
    assert reason_of(lambda: digest.hash_path(folder)) is LoadReason.UNSAFE_MODEL
