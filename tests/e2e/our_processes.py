"""Finds processes of our own cluster by its recorded numbers and descent, to be hard on exactly those."""

from __future__ import annotations

import json
import os
import pathlib
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import leases, request_counts
from tests.support.until import until

from fairlead_cli.local import cluster, process_table, programs


def command_line(pid: int) -> list[str]:
    """The words of a process's command; empty when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(local: cluster.LocalCluster, part: str) -> tuple[int, ...]:
    """The part's process and all that descends from it."""
    own = process_table.entry(local.pid(part))
    assert own is not None
    return tuple(each.pid for each in process_table.family([own.identity]))


def operator_pid(local: cluster.LocalCluster) -> int | None:
    """The operator itself, below the shell that starts it again; None while it doesn't run."""
    own = local.pid("operator")
    found = [pid for pid in descendants(local, "operator") if pid != own and _is_operator(pid)]
    return found[0] if found else None


def kill_operator(local: cluster.LocalCluster, *, lease_runs_out: bool = False) -> None:
    """SIGKILL, as the kernel does it to who takes too much memory; returns when another one is healthy.

    The Lease of a dead operator holds its successor up for some 17 s. Only some stories wait for its end, and all of
    them where requests are whole; for the others it is taken away.
    """
    victim = operator_pid(local)
    assert victim is not None
    own = process_table.entry(victim)
    os.kill(victim, signal.SIGKILL)
    if own is not None and not (lease_runs_out or request_counts.are_whole()):
        until(lambda: not process_table.is_alive(own.identity), "the operator is dead", deadline_s=400)
        leases.take_away(local)
    until(lambda: operator_pid(local) not in (None, victim), "the operator was started again", deadline_s=400)
    until(lambda: programs.is_healthy(local.ports["operator"]), "the new operator is healthy", deadline_s=400)


def kill_for_good(local: cluster.LocalCluster, part: str) -> None:
    """SIGKILL for a part and all that it started, at once: nobody says goodbye, nobody starts it again."""
    own = process_table.entry(local.pid(part))
    assert own is not None
    process_table.send(sorted(process_table.family([own.identity]), key=lambda each: each.pid), signal.SIGKILL)
    local.stop(part, signal.SIGKILL)


def start_operator(local: cluster.LocalCluster) -> None:
    """After it was killed for good; without the wait for its Lease, as above."""
    if not request_counts.are_whole():
        leases.take_away(local)
    local.start("operator")


def kill_alone(local: cluster.LocalCluster, part: str) -> None:
    """SIGKILL for a part's own process and nothing of what it started."""
    os.kill(local.pid(part), signal.SIGKILL)
    until(lambda: part not in local.running(), f"{part} ended", deadline_s=400)


def haproxy_master(local: cluster.LocalCluster) -> int | None:
    """The HAProxy that the gateway runs, by its own record; None while there is none."""
    try:
        record = json.loads((local.gateway_state / "haproxy.json").read_text())
    except FileNotFoundError:
        return None
    identity = process_table.Identity(pid=record["pid"], start_ticks=record["startTime"])
    return identity.pid if process_table.is_alive(identity) else None


@contextmanager
def pause_ray(local: cluster.LocalCluster) -> Iterator[None]:
    """Ray's REST server is stopped, not ended: connections are taken and nothing is answered."""
    port = f"--port={local.ports['ray-dashboard']}"
    found = [pid for pid in descendants(local, "ray") if port in command_line(pid)]
    assert len(found) == 1, found
    os.kill(found[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(found[0], signal.SIGCONT)


def _is_operator(pid: int) -> bool:
    return any(word.endswith("/fairlead-operator") for word in command_line(pid)[:2])
