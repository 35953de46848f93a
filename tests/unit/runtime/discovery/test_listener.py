"""A directory that ends closes every connection, also those that come at that moment."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import threading
from pathlib import Path

import pytest
from tests.support import node_members

from fairlead_runtime.discovery.member import Member

REPETITIONS = 10


@pytest.fixture
def unclosed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the collector found unclosed."""
    found: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: found.append(str(report.exc_value)))
    return found


def connect_until(stopped: threading.Event, address: tuple[str, int], kept: list[socket.socket]) -> None:
    while not stopped.is_set():
        with contextlib.suppress(OSError):
            kept.append(socket.create_connection(address, timeout=100))


def test_connections_that_come_at_the_end_are_closed(tmp_path: Path, unclosed: list[str]) -> None:
    node = node_members.node(tmp_path)
    for _ in range(REPETITIONS):
        member, stopped, kept = Member(node), threading.Event(), list[socket.socket]()
        member.announce(node_members.replica())
        where = (node.directory_host, node.directory_port)
        client = threading.Thread(target=connect_until, args=(stopped, where, kept))
        client.start()
        member.leave()
        stopped.set()
        client.join()
        for each in kept:
            each.close()
        gc.collect()
    assert unclosed == []
