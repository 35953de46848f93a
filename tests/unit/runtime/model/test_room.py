"""A process of a replica's own takes no more memory than the groups of its parent and the machine have left."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead_runtime.model import room
from fairlead_runtime.model.room import MIB, RESERVE_BYTES, Need

LIMIT, LEAST_BYTES = 4096 * MIB, 768 * MIB
NEED = Need(what="a conversion", least_bytes=LEAST_BYTES, most_bytes=LIMIT)


class Machine:
    """A folder with the files of Linux that say how much memory is used."""

    def __init__(self, root: Path, *, available: int) -> None:
        self.root = root
        self._write("proc/meminfo", f"MemTotal: 99999999 kB\nMemAvailable: {available // 1024} kB\n")

    def groups(self, text: str) -> None:
        self._write("proc/self/cgroup", text)

    def second(self, group: str, *, limit: int | str, used: int, unused_files: int = 0) -> None:
        folder = f"sys/fs/cgroup/{group}"
        self._write(f"{folder}/memory.max", f"{limit}\n")
        self._write(f"{folder}/memory.current", f"{used}\n")
        self._write(f"{folder}/memory.stat", f"anon 1\ninactive_file {unused_files}\n")

    def first(self, group: str, *, limit: int, used: int) -> None:
        folder = f"sys/fs/cgroup/memory/{group}"
        self._write(f"{folder}/memory.limit_in_bytes", f"{limit}\n")
        self._write(f"{folder}/memory.usage_in_bytes", f"{used}\n")
        self._write(f"{folder}/memory.stat", "total_inactive_file 0\n")

    def process(self, pid: int, module: str, *, limit: int, used: int, folder: str = "/cache/tmp-1") -> None:
        """One with a limit of its own, whose argument names a folder."""
        self._write(f"proc/{pid}/cmdline", f'python\0-m\0{module}\0{{"folder":"{folder}/entry"}}\0')
        self._write(
            f"proc/{pid}/limits", f"Limit  Soft Limit  Hard Limit  Units\nMax data size  {limit}  {limit}  bytes\n"
        )
        self._write(f"proc/{pid}/status", f"Name:\tpython\nRssAnon:\t  {used // 1024} kB\n")

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, available=100_000 * MIB)


def test_without_groups_the_machine_decides(tmp_path: Path) -> None:
    machine = Machine(tmp_path, available=2000 * MIB)
    assert room.find(NEED, machine.root) == 2000 * MIB - RESERVE_BYTES


def test_the_setting_is_the_most(machine: Machine) -> None:
    machine.groups("0::/\n")
    machine.second("", limit="max", used=1)
    assert room.find(NEED, machine.root) == LIMIT


def test_a_container_has_what_its_group_has_left(machine: Machine) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=3000 * MIB, used=1500 * MIB, unused_files=200 * MIB)
    assert room.find(NEED, machine.root) == 1700 * MIB - RESERVE_BYTES


def test_the_groups_around_count_as_well(machine: Machine) -> None:
    machine.groups("0::/pod/container\n")
    machine.second("pod/container", limit="max", used=100 * MIB)
    machine.second("pod", limit=3000 * MIB, used=1000 * MIB)
    assert room.find(NEED, machine.root) == 2000 * MIB - RESERVE_BYTES


@pytest.mark.parametrize("group", ["kubepods/pod/container", ""])
def test_the_first_version_of_groups_is_read(machine: Machine, group: str) -> None:
    """Where a container sees its own group only, that one is at the mount, and its name leads nowhere."""
    machine.groups("5:cpu,cpuacct:/other\n4:memory:/kubepods/pod/container\n0::/\n")
    machine.first(group, limit=3000 * MIB, used=1000 * MIB)
    assert room.find(NEED, machine.root) == 2000 * MIB - RESERVE_BYTES


def test_too_little_room_is_said(machine: Machine) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=2000 * MIB, used=2001 * MIB - LEAST_BYTES - RESERVE_BYTES)
    with pytest.raises(room.NoRoomError, match="needs 1024 MiB of free memory, and 1023 MiB are free"):
        room.find(NEED, machine.root)


def test_processes_that_run_at_once_share_what_is_left(machine: Machine) -> None:
    need = Need(what="reading", least_bytes=200 * MIB, most_bytes=500 * MIB, at_once=2)
    machine.groups("0::/\n")
    for free, expected in ((2000, 500), (1000, 372), (656, 200)):
        machine.second("", limit=3000 * MIB, used=(3000 - free) * MIB)
        assert room.find(need, machine.root) == expected * MIB
    machine.second("", limit=3000 * MIB, used=2345 * MIB)
    with pytest.raises(room.NoRoomError, match="reading needs 656 MiB of free memory, and 655 MiB are free"):
        room.find(need, machine.root)


def test_this_machine_says_how_much_it_has() -> None:
    assert room.find(Need(what="a test", least_bytes=1, most_bytes=1)) == 1


BESIDE = Need(
    what="a conversion",
    least_bytes=LEAST_BYTES,
    most_bytes=LIMIT,
    beside=room.Others(modules=("one", "two"), folder=Path("/cache")),
)


def test_what_others_may_still_come_to_take_is_theirs(machine: Machine) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=4000 * MIB, used=1000 * MIB)
    machine.process(10, "one", limit=900 * MIB, used=400 * MIB)
    machine.process(11, "two", limit=300 * MIB, used=200 * MIB)
    machine.process(12, "one", limit=700 * MIB, used=0, folder="/cache-of-another-node/tmp-1")
    machine.process(13, "three", limit=700 * MIB, used=0)
    assert room.find(BESIDE, machine.root) == (3000 - 500 - 100) * MIB - RESERVE_BYTES
    assert room.find(NEED, machine.root) == 3000 * MIB - RESERVE_BYTES


@pytest.mark.parametrize(("used", "is_promised"), [(400, True), (1200, False)])
def test_it_says_whether_there_will_be_room_when_others_end(machine: Machine, used: int, is_promised: bool) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=2000 * MIB, used=used * MIB)
    machine.process(10, "one", limit=900 * MIB, used=100 * MIB)
    with pytest.raises(room.NoRoomError, match="needs 1024 MiB of free memory") as raised:
        room.find(BESIDE, machine.root)
    assert raised.value.is_promised is is_promised


def test_a_process_that_ended_meanwhile_takes_nothing(machine: Machine) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=3000 * MIB, used=1000 * MIB)
    machine.process(10, "one", limit=900 * MIB, used=100 * MIB)
    (machine.root / "proc/10/status").write_text("Name:\tpython\nState:\tZ (zombie)\n")
    assert room.find(BESIDE, machine.root) == 2000 * MIB - RESERVE_BYTES


@pytest.mark.parametrize(
    ("left", "taken"), [(100_000, 4096), (3000, 1500), (1536, 768), (1534, 1534), (900, 900), (512, 512)]
)
def test_half_is_left_to_others_if_that_is_enough_for_them(machine: Machine, left: int, taken: int) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=left * MIB + RESERVE_BYTES, used=0)
    need = Need(what="an optimization", least_bytes=512 * MIB, most_bytes=LIMIT, leaves_bytes=LEAST_BYTES)
    assert room.find(need, machine.root) == taken * MIB


def test_what_keeps_room_for_others_needs_its_own_least_number(machine: Machine) -> None:
    machine.groups("0::/\n")
    machine.second("", limit=511 * MIB + RESERVE_BYTES, used=0)
    need = Need(what="an optimization", least_bytes=512 * MIB, most_bytes=LIMIT, leaves_bytes=LEAST_BYTES)
    with pytest.raises(room.NoRoomError, match="an optimization needs 768 MiB of free memory, and 767 MiB are free"):
        room.find(need, machine.root)


def test_a_running_process_is_found_by_its_arguments_and_counts_with_its_limit(tmp_path: Path) -> None:
    """In the files of this machine's kernel."""
    module, limit = "fairlead.a_module_of_this_test", 2**33
    program = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, module, f'{{"folder":"{tmp_path}/tmp-1/entry"}}']
    others = room.Others(modules=(module,), folder=tmp_path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert room.count_promised(others) == 0
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (limit, limit))
        assert limit - 200 * MIB < room.count_promised(others) < limit
        process.communicate()
    assert room.count_promised(others) == 0
