"""The cache is bounded, keeps what living replicas use, and survives a kill at any moment."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import published_files

from fairlead_runtime.errors import LoadError
from fairlead_runtime.model import cache, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.fetching import growth
from fairlead_runtime.model.fetching.access import Access
from fairlead_runtime.model.fetching.outbound import Outbound, parse_networks

REPOSITORY = Path(__file__).resolve().parents[4]
BOUNDS = Bounds(bytes_max=100_000_000, total_s=60)
MODEL_BYTES = 100_000
ROOM_FOR_TWO = 300_000
ENOUGH = 1_000_000_000
LOOPBACK = Access(outbound=Outbound(networks=parse_networks("127.0.0.0/8")))


def make_models(tmp_path: Path, count: int) -> list[str]:
    """Folders with two files each, as URIs."""
    uris = []
    for number in range(count):
        folder = tmp_path / f"model-{number}"
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"%d" % number * MODEL_BYTES)
        (folder / "variables" / "data").write_bytes(b"numbers")
        uris.append(folder.as_uri())
    return uris


def fetch(uri: str, kept: cache.Cache) -> cache.Fetched:
    return source.fetch(uri, None, kept, BOUNDS)


def entries(root: Path) -> set[str]:
    return {path.name.replace("-", ":", 1) for path in root.glob("sha256-*")}


def command(mode: str, root: Path, bytes_max: int, *uris: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.cache_user", mode, str(root), str(bytes_max), *uris]


@contextmanager
def used_by_another_process(root: Path, bytes_max: int, *uris: str) -> Iterator[subprocess.Popen[str]]:
    argv = command("hold", root, bytes_max, *uris)
    with subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline().strip() == str(len(uris))
        try:
            yield user
        finally:
            user.kill()


def test_above_the_limit_the_least_recently_used_entry_is_removed_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = cache.Cache(tmp_path / "cache", bytes_max=ROOM_FOR_TWO)
    uris = make_models(tmp_path, 3)
    digests = []
    for age_s, uri in zip((100, 200), uris, strict=False):
        fetched = fetch(uri, kept)
        fetched.lease.close()
        folder = fetched.path.parent
        os.utime(folder, (folder.stat().st_mtime - age_s,) * 2)
        digests.append(fetched.digest)
    third = fetch(uris[2], kept)
    assert entries(tmp_path / "cache") == {digests[0], third.digest}
    assert [each.digest for each in kept.evicted] == [digests[1]]
    assert kept.evicted[0].size_bytes >= MODEL_BYTES
    assert f"evicted {digests[1]}" in caplog.text


def test_an_entry_was_last_used_when_its_use_ended(tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path / "cache", bytes_max=ROOM_FOR_TWO)
    uris = make_models(tmp_path, 3)
    long_used, short_used = fetch(uris[0], kept), fetch(uris[1], kept)
    for fetched in (long_used, short_used):
        os.utime(fetched.path.parent, (0, 0))
    long_used.lease.touch()
    long_used.lease.close()
    short_used.lease.close()
    third = fetch(uris[2], kept)
    assert entries(tmp_path / "cache") == {long_used.digest, third.digest}


def test_an_entry_in_use_by_another_process_is_kept_until_that_process_ends(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    uris = make_models(tmp_path, 3)
    kept = cache.Cache(root, bytes_max=0)
    with used_by_another_process(root, 0, *uris[:2]) as user:
        third = fetch(uris[2], kept)
        assert len(entries(root)) == 3
        assert kept.evicted == []
        user.kill()
        user.wait()
        kept.make_room(0)
    assert entries(root) == {third.digest}


def test_a_process_killed_during_a_removal_leaves_no_partial_model(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    uris = make_models(tmp_path, 2)
    kept = cache.Cache(root, bytes_max=ENOUGH)
    first = fetch(uris[0], kept)
    first.lease.close()
    killed = subprocess.run(command("die-while-removing", root, 0, uris[1]), cwd=REPOSITORY)
    assert killed.returncode == -9
    assert list(root.glob("tmp-gone-*"))
    refetched = fetch(uris[0], kept)
    assert refetched == first
    assert (refetched.path / "variables" / "data").read_bytes() == b"numbers"
    assert not list(root.glob("tmp-*"))


def test_leftovers_of_a_killed_fetch_are_removed_by_the_next_fetch(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    uris = make_models(tmp_path, 2)
    killed = subprocess.run(command("die-while-fetching", root, ENOUGH, uris[0]), cwd=REPOSITORY)
    assert killed.returncode == -9
    assert [path.name for path in root.glob("tmp-*/raw/*.pb")] == ["saved_model.pb"]
    with cache.Cache(root, bytes_max=ENOUGH).scratch_folder() as living:
        (living / "raw").write_bytes(b"half")
        fetch(uris[1], cache.Cache(root, bytes_max=ENOUGH))
        assert list(root.glob("tmp-*")) == [living]
        assert (living / "raw").read_bytes() == b"half"
    assert len(list(root.glob("*.lock"))) == 2  # the folder's, and of the last fetch


def test_concurrent_fetches_and_evictions_never_remove_an_entry_in_use(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    argv = command("come-and-go", root, ROOM_FOR_TWO, *make_models(tmp_path, 5))
    users = [
        subprocess.Popen(argv, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    report = [user.communicate(timeout=100) for user in users]
    assert [user.returncode for user in users] == [0, 0, 0], report
    assert sum(int(out) for out, _ in report) > 10
    assert not list(root.glob("tmp-*"))
    cache.Cache(root, bytes_max=ROOM_FOR_TWO).make_room(0)
    assert len(entries(root)) <= 2


def test_bytes_that_are_only_announced_remove_no_model(tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path / "cache", bytes_max=ROOM_FOR_TWO)
    for uri in make_models(tmp_path, 2):
        fetch(uri, kept).lease.close()
    before = entries(kept.root)
    with published_files.serving() as published:
        published.files["/m"] = b"m" * 250_000
        published.cut_after = [1000] * 100
        with pytest.raises(LoadError):
            source.fetch(f"{published.url}/m", None, kept, replace(BOUNDS, total_s=5), access=LOOPBACK)
    assert (entries(kept.root), kept.evicted) == (before, [])


def test_models_are_removed_one_by_one_as_bytes_come(tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path / "cache", bytes_max=ROOM_FOR_TWO)
    for uri in make_models(tmp_path, 2):
        fetch(uri, kept).lease.close()
    room = growth.Growth(kept)
    evicted = []
    room.expect(250_000)
    for _ in range(25):
        room.count(10_000)
        evicted.append(len(kept.evicted))
    assert evicted[0] == 0
    assert sorted(evicted) == evicted
    assert set(evicted) == {0, 1, 2}
    assert evicted[7] < 2, "room is made for at most twice as much as came"


def test_bytes_that_come_again_after_a_broken_download_need_no_more_room(tmp_path: Path) -> None:
    kept = cache.Cache(tmp_path / "cache", bytes_max=ROOM_FOR_TWO)
    for uri in make_models(tmp_path, 2):
        fetch(uri, kept).lease.close()
    room = growth.Growth(kept)
    for _ in range(100):
        room.count(30_000)
        room.count(-30_000)
    assert kept.evicted == []


def test_a_full_disk_is_freed_of_unused_models_or_reported_with_figures(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = [shutil.which("unshare") or "unshare", *([] if os.getuid() == 0 else ["--map-root-user"]), "--mount"]
    with published_files.serving() as published:
        published.files["/m"] = b"m" * 2 * 1024 * 1024
        published.without_length = True
        argv = [*unshare, sys.executable, "-m", "tests.support.full_disk", str(disk), f"{published.url}/m"]
        run = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    cache_dir = disk / "cache"
    assert report["refused"].startswith(
        f"DiskFull: the disk of {cache_dir} is full: the model needs 3145728 bytes, 2097152 are free; "
        "0 unused models of 0 bytes were removed, 2 of 2097152 bytes are in use"
    )
    assert report["evicted while all were held"] == 0
    assert report["evicted"] is True
    assert report["evicted for it"] == 2
    assert report["evicted in all"] == 3
    assert "more than" in report["an archive that unpacks to more"]
    assert "1 of 1048576 bytes are in use" in report["an archive that unpacks to more"]
    assert report["left over"] == []
