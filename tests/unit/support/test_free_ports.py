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


def test_local_clusters_take_other_ports() -> None:
    assert ports.pick(()) < 15000 <= free_ports.free_port()
