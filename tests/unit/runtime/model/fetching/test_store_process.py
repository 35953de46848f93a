"""The process that reads a bucket: whatever becomes of it, the fetch ends with a reason."""

from __future__ import annotations

import errno
import json
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from tests.support import hostile_bucket, object_servers

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import room
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.fetching import allowance, object_store, store_process
from fairlead_runtime.model.fetching.access import Access

BOUNDS = Bounds(bytes_max=1000, idle_s=60, total_s=120)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives the process a shell script to run."""
    monkeypatch.setattr(store_process, "GRACE_S", 1.0)

    def give(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return give


def cache_of(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", bytes_max=10**9)


def download(tmp_path: Path, bounds: Bounds = BOUNDS) -> None:
    with allowance.starting(bounds) as allowed:
        store_process.download("s3://models/m", tmp_path / "raw", allowed, Access(), cache_of(tmp_path))


def print_message(**fields: object) -> str:
    return f"echo '{json.dumps(fields)}'"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "ended with code 3"),
        ("kill -ABRT $$", "ended with signal 6"),
        ("printf '{'; exit 0", "ended with code 0"),
        ("exec cat /dev/zero", "ended with signal"),
    ],
)
def test_one_that_ends_without_a_message_is_a_failed_fetch(
    child: Callable[[str], None], tmp_path: Path, script: str, words: str
) -> None:
    child(script)
    with pytest.raises(LoadError, match=words) as raised:
        download(tmp_path)
    assert raised.value.reason is LoadReason.FETCH_FAILED


def test_its_refusal_is_passed_on(child: Callable[[str], None], tmp_path: Path) -> None:
    child(print_message(reason="UnsafeModel", sentence="the sentence"))
    with pytest.raises(LoadError) as raised:
        download(tmp_path)
    assert (raised.value.reason, raised.value.sentence) == (LoadReason.UNSAFE_MODEL, "the sentence")


def test_a_full_disk_is_passed_on_as_such(child: Callable[[str], None], tmp_path: Path) -> None:
    child(print_message(errno=errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as raised:
        download(tmp_path)
    assert raised.value.errno == errno.ENOSPC


def test_nothing_is_read_before_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected: list[int] = []

    def make_room(cache: Cache, size_bytes: int) -> None:
        expected.append(size_bytes)
        raise LoadError(LoadReason.DISK_FULL, "no room")

    monkeypatch.setattr(Cache, "make_room", make_room)
    with hostile_bucket.serving() as (bucket, url), allowance.starting(BOUNDS) as allowed:
        bucket.listed = [("m/a", 3), ("m/b", 4)]
        access = object_servers.access(url, tmp_path)
        with pytest.raises(LoadError, match="no room"):
            store_process.download("s3://models/m", tmp_path / "raw", allowed, access, cache_of(tmp_path))
        assert not [asked for asked in bucket.asked if asked.startswith("GET") and "list-type" not in asked]
    assert expected == [7]


def test_one_that_says_nothing_is_ended_when_the_time_is_over(child: Callable[[str], None], tmp_path: Path) -> None:
    child("exec sleep 600")
    with pytest.raises(LoadError, match=r"not read within 0\.2 s"):
        download(tmp_path, Bounds(bytes_max=1000, total_s=0.2))


def test_one_without_its_parent_ends_at_once(tmp_path: Path) -> None:
    job = store_process.Job(
        uri="s3://models/m",
        into=tmp_path / "raw",
        bounds=BOUNDS,
        left_s=20,
        access=Access(),
        choose=store_process.choose_all,
        memory_bytes=store_process.MEMORY_BYTES_LEAST,
        parent=2**22 + 1,  # above every process of Linux
    )
    command = [sys.executable, "-m", "fairlead_runtime.model.fetching.store_child"]
    ended = subprocess.run(command, input=pickle.dumps(job), timeout=60, check=False, capture_output=True)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, b"")


def test_so_many_at_once_leave_the_others_waiting_until_their_time_is_over(
    child: Callable[[str], None], tmp_path: Path
) -> None:
    child(print_message())
    cache = cache_of(tmp_path)
    with ExitStack() as others:
        for _ in range(store_process.AT_ONCE - 1):
            others.enter_context(hold_turn(cache))
        download(tmp_path)
        with hold_turn(cache), pytest.raises(LoadError, match="still reading from a bucket") as raised:
            download(tmp_path, Bounds(bytes_max=1000, total_s=0.2))
    assert raised.value.reason is LoadReason.FETCH_FAILED


def hold_turn(cache: Cache) -> AbstractContextManager[None]:
    return cache.exclusive(store_process.TURN, 5, at_once=store_process.AT_ONCE)


def test_it_starts_only_where_there_is_memory(
    child: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a container's memory ends, Linux ends all replicas in it."""
    child(f"touch {tmp_path}/started")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {700 * 1024} kB\n")
    find = room.find
    monkeypatch.setattr(room, "find", lambda need: find(need, tmp_path))
    with pytest.raises(LoadError, match="needs 768 MiB of free memory, and 700 MiB are free") as raised:
        download(tmp_path)
    assert raised.value.reason is LoadReason.FETCH_FAILED
    assert not (tmp_path / "started").exists()


def test_the_least_memory_is_enough_for_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_process, "MEMORY_BYTES_MAX", store_process.MEMORY_BYTES_LEAST)
    size = object_store.PART_BYTES
    with hostile_bucket.serving() as (bucket, url), allowance.starting(Bounds(bytes_max=10**9)) as allowed:
        bucket.body = bytes(size)
        bucket.listed = [(f"m/{number}", size) for number in range(12)]
        access = object_servers.access(url, tmp_path)
        store_process.download("s3://models/m/", tmp_path / "raw", allowed, access, cache_of(tmp_path))
    assert sum(path.stat().st_size for path in (tmp_path / "raw").iterdir()) == 12 * size
