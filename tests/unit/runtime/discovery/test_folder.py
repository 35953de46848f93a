"""The node's folder with real files and locks: who is listed, whose file is removed, and what nobody may put there."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from tests.support import node_members
from tests.support.node_members import replica

from fairlead_runtime.discovery import entry, folder
from fairlead_runtime.discovery.entry import Entry, State
from fairlead_runtime.discovery.folder import FolderError, OwnFile, Reader


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "node"
    folder.prepare(made)
    return made


@pytest.fixture
def own(place: Path) -> Iterator[OwnFile]:
    made = OwnFile(place, replica(1))
    yield made
    made.remove()


def states(reader: Reader) -> dict[str, State]:
    return {each.replica.name: each.state for each in reader.read()}


def locked(path: Path, content: bytes) -> int:
    """A file as a hostile process of our own user may write it: its lock held by the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    os.write(descriptor, content)
    return descriptor


def test_a_replica_is_listed_from_ready_over_draining_to_its_end(place: Path) -> None:
    reader, described = Reader(place), replica(1)
    own = OwnFile(place, described)
    assert reader.read() == (Entry(replica=described, state=State.READY),)
    own.drain()
    assert reader.read() == (Entry(replica=described, state=State.DRAINING),)
    own.remove()
    assert reader.read() == ()
    assert list(place.iterdir()) == []


def test_the_file_of_a_dead_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    node = node_members.node(tmp_path)
    with node_members.processes(node, 2) as (living, dead):
        reader = Reader(node.folder)
        assert set(states(reader)) == {living.name, dead.name}
        dead.kill()
        assert states(reader) == {living.name: State.READY}
        assert [path.name for path in node.folder.iterdir()] == [f"{living.name}.ready"]


def test_every_change_of_a_file_is_noticed_and_a_death_alone_changes_no_file(place: Path) -> None:
    reader = Reader(place)
    first = OwnFile(place, replica(1))
    os.utime(place, ns=(1, 1))  # long settled
    reader.read()
    assert not reader.has_changed()
    second = OwnFile(place, replica(2))
    assert reader.has_changed()
    for own in (first, second):
        own.remove()


def test_two_changes_within_one_tick_of_the_clock_are_both_seen(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = os.stat(place).st_mtime_ns
    reader = Reader(place)
    monkeypatch.setattr(folder, "SETTLED_AFTER_NS", 10**18)  # however long this test takes
    monkeypatch.setattr(Reader, "_changed_ns", lambda _self: stuck)
    first = OwnFile(place, replica(1))
    assert len(reader.read()) == 1
    second = OwnFile(place, replica(2))
    # The folder's time is that of the reading before, as it is when both happened within one tick.
    assert reader.has_changed()
    assert len(reader.read()) == 2
    for own in (first, second):
        own.remove()


def test_a_replica_is_never_missing_while_files_are_renamed_come_and_go(place: Path) -> None:
    """Three threads change the folder as fast as they can; a replica that is there all the time is in every listing."""
    steady = [OwnFile(place, replica(number)) for number in range(40)]
    reader, done = Reader(place), threading.Event()
    assert len(reader.read()) == 40

    def churn(start: int) -> None:
        number = start
        while not done.is_set():
            number += 1
            passing = OwnFile(place, replica(number))
            passing.drain()
            passing.remove()

    threads = [threading.Thread(target=churn, args=(100_000 * each,)) for each in range(1, 4)]
    for thread in threads:
        thread.start()
    try:
        names = {own.name for own in steady}
        for own in steady:
            own.drain()
            assert names <= {each.replica.name for each in reader.read()}
    finally:
        done.set()
        for thread in threads:
            thread.join()
    found = states(reader)
    assert found == dict.fromkeys(names, State.DRAINING)
    for own in steady:
        own.remove()


def test_files_that_vanish_between_listing_and_reading_are_no_error(
    place: Path, own: OwnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(place)
    assert len(reader.read()) == 1
    names = Reader._names
    monkeypatch.setattr(Reader, "_names", lambda self: [*names(self), entry.file_name(replica(9).name, State.READY)])
    assert list(states(reader)) == [own.name]


def test_a_known_replica_that_a_listing_misses_is_looked_up_by_name(
    place: Path, own: OwnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(place)
    reader.read()
    monkeypatch.setattr(Reader, "_names", lambda _self: [])
    own.drain()
    assert states(reader) == {own.name: State.DRAINING}


def test_a_removed_or_replaced_file_is_written_again(place: Path) -> None:
    own = OwnFile(place, replica(1))
    path = place / entry.file_name(own.name, State.READY)
    path.unlink()
    own.restore()
    assert states(Reader(place)) == {own.name: State.READY}
    path.unlink()
    path.write_bytes(b"somebody else's")
    own.restore()
    assert states(Reader(place)) == {own.name: State.READY}
    path.unlink()
    own.drain()
    assert states(Reader(place)) == {own.name: State.DRAINING}
    for each in place.iterdir():
        each.unlink()
    place.rmdir()
    own.restore()
    assert states(Reader(place)) == {own.name: State.DRAINING}
    own.remove()


GOOD = {"namespace": "default", "model": "digits", "revision": "3f0c9a1b2d", "port": 40001}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": True}, "port"),
        ({"port": "40001"}, "port"),
        ({"port": 40001.0}, "port"),
        ({"revision": "ffffffffff"}, "revision"),
        ({"model": "Digits"}, "model"),
        ({"model": "d" * 51}, "model"),
        ({"model": "digits\n"}, "model"),
        ({"model": None}, "model"),
        ({"namespace": "a_b"}, "namespace"),
        ({"namespace": "n" * 64}, "namespace"),
        ({"namespace": ""}, "namespace"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(entry.InvalidEntryError, match=f"not a replica's file: {named}: "):
        entry.parse(replica().name, orjson.dumps({**GOOD, **fields}))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"null", b" " * 2000 + orjson.dumps(GOOD)])
def test_content_that_is_no_small_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(entry.InvalidEntryError):
        entry.parse(replica().name, content)


def test_hostile_files_are_ignored_without_blocking_and_foreign_files_are_kept(
    place: Path, own: OwnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def path(number: int, suffix: str = "ready") -> Path:
        return place / f"3f0c9a1b2d-{number:016x}.{suffix}"

    outside = place.parent / "outside"
    outside.write_bytes(orjson.dumps(GOOD))
    path(2).symlink_to(outside)
    os.mkfifo(path(3))
    path(4).mkdir()
    left = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(place)  # a socket's path is short
    left.bind(path(5).name)
    held = [locked(path(6), b"x" * 5000), locked(path(7), orjson.dumps({**GOOD, "port": -1}))]
    (place / "notes.txt").write_text("a person's")
    (place / "3f0c9a1b2d-zz.ready").write_text("no replica's name")
    try:
        assert states(Reader(place)) == {own.name: State.READY}
        assert (place / "notes.txt").exists()
        assert outside.exists()
    finally:
        left.close()
        for descriptor in held:
            os.close(descriptor)


def test_a_replica_with_two_files_counts_as_draining(place: Path, own: OwnFile) -> None:
    os.link(place / f"{own.name}.ready", place / f"{own.name}.draining")
    assert states(Reader(place)) == {own.name: State.DRAINING}


def test_too_many_files_make_the_node_unknown_instead_of_partly_listed(
    place: Path, own: OwnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = OwnFile(place, replica(2))
    monkeypatch.setattr(entry, "REPLICAS_MAX", 1)
    with pytest.raises(FolderError, match="more than 1 running replicas"):
        Reader(place).read()
    monkeypatch.setattr(folder, "FILES_MAX", 1)
    with pytest.raises(FolderError, match="more than 1 files"):
        Reader(place).read()
    second.remove()


def test_a_missing_folder_and_a_lack_of_descriptors_are_unknown(
    place: Path, own: OwnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(place)
    with pytest.raises(FolderError, match="No such file"):
        Reader(place / "gone").read()

    def refuse(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FolderError, match="Too many open files"):
        reader.read()
    monkeypatch.undo()
    assert list(states(reader)) == [own.name]


def test_old_temporary_files_of_dead_replicas_are_removed(place: Path) -> None:
    young, old = place / f".{replica(1).name}", place / f".{replica(2).name}"
    held = locked(place / f".{replica(3).name}", b"")
    for path in (young, old):
        path.touch()
    for path in (old, place / f".{replica(3).name}"):
        os.utime(path, (0, 0))
    assert Reader(place).read() == ()
    assert sorted(path.name for path in place.iterdir()) == [young.name, f".{replica(3).name}"]
    os.close(held)


def test_the_folder_is_created_private_to_its_user(tmp_path: Path) -> None:
    made = tmp_path / "a" / "node"
    folder.prepare(made)
    assert made.stat().st_mode & 0o777 == 0o700
    folder.prepare(made)


def test_a_folder_that_others_can_use_is_refused(tmp_path: Path) -> None:
    shared, link, file = tmp_path / "shared", tmp_path / "link", tmp_path / "file"
    shared.mkdir()
    shared.chmod(0o755)
    link.symlink_to(tmp_path)
    file.touch()
    with pytest.raises(FolderError, match="has the mode 0755; it must be 0700"):
        folder.prepare(shared)
    with pytest.raises(FolderError, match="not a link"):
        folder.prepare(link)
    with pytest.raises(FolderError, match="File exists"):
        folder.prepare(file)
