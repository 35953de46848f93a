"""A process is ended only if it is surely ours, and then with all that it left behind."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.support import published_files
from tests.support.until import until

from fairlead_cli.local import locks, process_table, processes

pytestmark = pytest.mark.real


@pytest.fixture
def ledger(tmp_path: pathlib.Path) -> Iterator[processes.Ledger]:
    made = processes.Ledger(folder=tmp_path / "processes", mark=f"test-{os.getpid()}-{tmp_path.name}")
    yield made
    made.stop_everything(grace_s=0)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield child
    child.kill()
    child.wait()


def sh(tmp_path: pathlib.Path, script: str) -> processes.Command:
    return processes.Command(argv=["/bin/sh", "-c", script], log=tmp_path / "log")


def identities(ledger: processes.Ledger, name: str, count: int) -> frozenset[process_table.Identity]:
    """The family once it has so many members.

    A part is recorded before it becomes its program, and the recording itself starts a process, which ends after the
    record is there. So count only when the program has said something.
    """
    until(lambda: len(ledger.family(name)) == count, f"{count} processes of {name}")
    return ledger.family(name)


def wait_for_line(tmp_path: pathlib.Path, word: str) -> None:
    until(lambda: word in (tmp_path / "log").read_text(), f"the program has said {word!r}")


def test_a_process_is_recorded_before_it_becomes_the_program(ledger: processes.Ledger, tmp_path: pathlib.Path) -> None:
    record = tmp_path / "processes/part.pid"
    identity = ledger.start("part", sh(tmp_path, f"cat {record}; exec sleep 600"))
    until(lambda: f" {identity.start_ticks} " in (tmp_path / "log").read_text(), "it has read its own record")
    assert ledger.living("part") == identity


def test_a_reused_process_id_is_not_killed(
    ledger: processes.Ledger, tmp_path: pathlib.Path, stranger: subprocess.Popen[bytes]
) -> None:
    found = process_table.entry(stranger.pid)
    assert found is not None
    stat = pathlib.Path(f"/proc/{stranger.pid}/stat").read_text()
    earlier = stat.replace(f" {found.identity.start_ticks} ", f" {found.identity.start_ticks - 1} ")
    ledger.folder.mkdir()
    (ledger.folder / "part.pid").write_text(f"{process_table.boot_id()}\n{earlier}\nsleep 600\n")
    assert ledger.living("part") is None
    ledger.stop("part", grace_s=0)
    ledger.stop_everything(grace_s=0)
    assert stranger.poll() is None
    assert ledger.names() == ()


def test_a_record_of_an_earlier_boot_is_ignored(ledger: processes.Ledger, stranger: subprocess.Popen[bytes]) -> None:
    stat = pathlib.Path(f"/proc/{stranger.pid}/stat").read_text()
    ledger.folder.mkdir()
    (ledger.folder / "part.pid").write_text(f"00000000-another-boot\n{stat}\nsleep 600\n")
    ledger.stop_everything(grace_s=0)
    assert stranger.poll() is None


def test_stopping_a_part_ends_its_child_processes(ledger: processes.Ledger, tmp_path: pathlib.Path) -> None:
    ledger.start("part", sh(tmp_path, "sleep 600 & sleep 600 & echo started; wait"))
    wait_for_line(tmp_path, "started")
    family = identities(ledger, "part", 3)
    ledger.stop("part", grace_s=5)
    assert not any(process_table.is_alive(each) for each in family)


def test_children_of_a_killed_parent_are_found(ledger: processes.Ledger, tmp_path: pathlib.Path) -> None:
    main = ledger.start("part", sh(tmp_path, "sleep 600 & echo started; exec sleep 601"))
    wait_for_line(tmp_path, "started")
    family = identities(ledger, "part", 2)
    process_table.send([main], signal.SIGKILL)
    until(lambda: not process_table.is_alive(main), "its parent is dead")
    assert ledger.family("part") == family - {main}
    ledger.stop_everything(grace_s=0)
    assert not any(process_table.is_alive(each) for each in family)


def test_a_child_in_its_own_session_is_found_by_its_mark(ledger: processes.Ledger, tmp_path: pathlib.Path) -> None:
    daemon = "import os, time; os.setsid() if os.fork() == 0 else os._exit(0); time.sleep(600)"
    ledger.start("part", processes.Command(argv=[sys.executable, "-c", daemon], log=tmp_path / "log"))
    until(lambda: ledger.living("part") is None, "the parent is gone")
    left = identities(ledger, "part", 1)
    assert identities(ledger, "part", 1) == left
    ledger.stop("part", grace_s=0)
    assert not any(process_table.is_alive(each) for each in left)


def test_stopping_one_part_leaves_the_others(ledger: processes.Ledger, tmp_path: pathlib.Path) -> None:
    ledger.start("ray", sh(tmp_path, "exec sleep 600"))
    other = ledger.start("ray-too", sh(tmp_path, "exec sleep 600"))
    ledger.stop("ray", grace_s=5)
    assert ledger.living("ray-too") == other


def test_a_process_that_ignores_sigterm_is_killed(ledger: processes.Ledger, tmp_path: pathlib.Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    stubborn = ledger.start("part", sh(tmp_path, script))
    wait_for_line(tmp_path, "ready")
    ledger.stop("part", grace_s=0.3)
    assert not process_table.is_alive(stubborn)


@pytest.mark.parametrize(
    "command", [pytest.param("sh", id="plain"), pytest.param("a) b (c", id="spaces and parentheses")]
)
def test_a_process_with_any_command_name_is_read(command: str) -> None:
    line = f"12 ({command}) S 1 12 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 98765 1000 200"
    found = process_table.parse_stat(line)
    assert found.identity == process_table.Identity(pid=12, start_ticks=98765)
    assert (found.parent_pid, found.session_id, found.is_zombie) == (1, 7, False)


HOLD = """
import pathlib, subprocess, sys, time
from fairlead_cli.local import locks, progress
with locks.hold(pathlib.Path(sys.argv[1]), what="it", reporter=progress.Silent()) as lock:
    child = subprocess.Popen(["sleep", "600"], pass_fds=[lock])
    print(child.pid, flush=True)
    time.sleep(600)
"""


def test_a_build_that_outlives_its_command_still_holds_the_lock(
    tmp_path: pathlib.Path, reporter: published_files.RecordingReporter
) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    build_pid = int(holder.stdout.readline())
    holder.kill()
    holder.wait()
    holder.stdout.close()
    waiter = subprocess.Popen(["flock", "--nonblock", str(path), "true"])
    assert waiter.wait() != 0
    os.kill(build_pid, signal.SIGKILL)
    with locks.hold(path, what="another build", reporter=reporter):
        pass
    assert reporter.steps in ([], [f"waiting: another build ({path})"])


def test_a_process_is_alive_until_its_last_thread_has_ended() -> None:
    """As after a SIGKILL on a busy machine: the port of a dead first thread is still taken by the others."""
    program = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); "
        "print('up', flush=True); ctypes.CDLL(None).pthread_exit(None)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"up\n"
    found = process_table.entry(child.pid)
    assert found is not None
    stat = pathlib.Path(f"/proc/{child.pid}/stat")
    until(lambda: ") Z " in stat.read_text(), "its first thread is dead")
    assert process_table.is_alive(found.identity)
    assert found.identity in process_table.family([found.identity])
    child.kill()
    until(lambda: not process_table.is_alive(found.identity), "it is dead")
    child.wait()
