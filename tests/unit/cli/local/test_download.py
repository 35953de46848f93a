"""A published file is fetched whole, once, and only if it is the published one."""

from __future__ import annotations

import hashlib
import pathlib
import socket
import time

import pytest
from tests.support import published_files

from fairlead_cli.local import download, errors

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_an_interrupted_download_is_resumed(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    published.files["/big"] = CONTENT
    published.cut_after = [300_000, 200_000]
    download.fetch(f"{published.url}/big", tmp_path / "big", sha256=SHA256, reporter=reporter)
    assert (tmp_path / "big").read_bytes() == CONTENT
    assert published.requests == [("/big", None), ("/big", "bytes=300000-"), ("/big", "bytes=500000-")]


def test_a_part_of_an_earlier_run_is_not_downloaded_again(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    published.files["/big"] = CONTENT
    (tmp_path / "big.part").write_bytes(CONTENT[:1000])
    download.fetch(f"{published.url}/big", tmp_path / "big", sha256=SHA256, reporter=reporter)
    assert (tmp_path / "big").read_bytes() == CONTENT
    assert published.requests == [("/big", "bytes=1000-")]
    assert reporter.bars == [("fetching big", len(CONTENT), len(CONTENT))]


def test_a_complete_part_is_used_without_a_download(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    published.files["/big"] = CONTENT
    (tmp_path / "big.part").write_bytes(CONTENT)
    download.fetch(f"{published.url}/big", tmp_path / "big", sha256=SHA256, reporter=reporter)
    assert (tmp_path / "big").read_bytes() == CONTENT


def test_a_file_with_another_checksum_is_refused_and_removed(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    published.files["/big"] = CONTENT + b"tampered"
    with pytest.raises(errors.NotThere, match="refused"):
        download.fetch(f"{published.url}/big", tmp_path / "big", sha256=SHA256, reporter=reporter)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_reported_with_the_http_status(
    tmp_path: pathlib.Path, published: published_files.Published, reporter: published_files.RecordingReporter
) -> None:
    with pytest.raises(errors.NotThere, match="404"):
        download.fetch(f"{published.url}/none", tmp_path / "none", sha256=SHA256, reporter=reporter)


def test_a_refused_connection_is_not_retried() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, not listening: refused
        began = time.monotonic()
        with pytest.raises(errors.NotThere, match="can't be reached"):
            download.check_reachable(f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("listing", "file_name"),
    [
        pytest.param(SHA256, "kubectl", id="a bare digest"),
        pytest.param(f"{'0' * 64}  other\n{SHA256}  etcd.tar.gz\n", "etcd.tar.gz", id="lines of digest and name"),
        pytest.param(f"{SHA256.upper()} *etcd.tar.gz\n", "etcd.tar.gz", id="binary mode, upper case"),
    ],
)
def test_reads_the_published_checksum(listing: str, file_name: str) -> None:
    assert download.published_checksum(listing, file_name) == SHA256


def test_a_file_without_a_published_checksum_is_not_used() -> None:
    with pytest.raises(errors.NotThere, match="no checksum"):
        download.published_checksum(f"{SHA256}  other\n", "etcd.tar.gz")
