"""Ports of tests: no two processes get the same one, also before anything listens there."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.support import free_ports

from fairlead_cli.local import ports

TAKE_ALL = """
import sys
from tests.support import free_ports

free_ports._RANGE = range(int(sys.argv[1]), int(sys.argv[2]))
print(free_ports.free_ports(3), flush=True)
sys.stdin.read()
"""


def test_a_port_that_another_process_has_is_not_given_until_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    start = next(port for port in range(9000, 9900, 4) if all(map(ports.is_free, range(port, port + 4))))
    monkeypatch.setattr(free_ports, "_RANGE", range(start, start + 4))
    argv = [sys.executable, "-c", TAKE_ALL, str(start), str(start + 4)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        taken = set(map(int, other.stdout.readline().strip("[]\n").split(",")))
        assert len(taken) == 3
        assert {free_ports.free_port()} == {*range(start, start + 4)} - taken
        with pytest.raises(OSError, match="no free port"):
            free_ports.free_port()
        other.communicate()
    assert set(free_ports.free_ports(3)) == taken


PICK = """
import sys
from fairlead_cli.local import ports

ports._RANGE = range(int(sys.argv[1]), int(sys.argv[2]))
print(ports.pick(()), flush=True)
sys.stdin.read()
"""


def test_two_commands_never_pick_the_same_port_for_parts_that_do_not_listen_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = next(port for port in range(9900, 10000, 2) if all(map(ports.is_free, range(port, port + 2))))
    monkeypatch.setattr(ports, "_RANGE", range(start, start + 2))
    argv = [sys.executable, "-c", PICK, str(start), str(start + 2)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        ours = ports.pick(())
        assert {ours, theirs} == {start, start + 1}
        with pytest.raises(OSError, match="no free port"):
            ports.pick((ours,))
        other.communicate()
    assert ports.pick((ours,)) == theirs


def test_local_clusters_take_other_ports() -> None:
    assert ports.pick(()) < 15000 <= free_ports.free_port()
