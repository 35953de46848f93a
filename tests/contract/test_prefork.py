"""An operator that the fault campaign forks is as the one that the command line starts, in what a run depends on."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import prefork
from tests.support.free_ports import free_port
from tests.support.operator_process import OperatorProcess
from tests.support.until import until

pytestmark = pytest.mark.real
AUTHORITIES = Path(ssl.get_default_verify_paths().openssl_cafile)


@pytest.fixture
def nursery() -> Iterator[prefork.Nursery]:
    with prefork.Nursery(AUTHORITIES) as started:
        yield started


@pytest.fixture
def flags(tmp_path: Path) -> tuple[str, ...]:
    """Of an operator that waits for its API server."""
    kubeconfig = tmp_path / "kubeconfig"
    cluster = {"server": f"http://127.0.0.1:{free_port()}"}
    body = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    kubeconfig.write_text(json.dumps(body))
    return ("--kubeconfig", str(kubeconfig), "--lease-namespace", "n", "--namespace", "n")


def _signals(pid: int) -> list[str]:
    """Which signals are blocked, ignored and caught."""
    return re.findall(r"^Sig(?:Blk|Ign|Cgt):.*$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)


def test_it_has_the_signals_of_the_command_and_ends_as_that_does(
    nursery: prefork.Nursery, flags: tuple[str, ...], tmp_path: Path
) -> None:
    command = OperatorProcess(flags, log=tmp_path / "command")
    command.start(ready=False)
    port = free_port()
    forked = nursery.start((*flags, "--listen", f"127.0.0.1:{port}"), tmp_path / "forked")
    page = OperatorProcess(flags, log=tmp_path / "forked")
    page.port = port
    for process in (command, page):
        until(lambda p=process: p.get("/readyz")[0] == 503, "it waits for the API server")  # type: ignore[misc]
    assert _signals(forked) == _signals(command.pid)
    assert command.stop() == 0
    os.kill(forked, signal.SIGTERM)
    until(lambda: not prefork.is_alive(forked), "the forked operator ends")
    assert "stopped" in (tmp_path / "forked").read_text()
    assert "stopped" in (tmp_path / "command").read_text()


def test_wrong_flags_are_refused_in_the_same_words(nursery: prefork.Nursery, tmp_path: Path) -> None:
    wrong = ("--resync-seconds", "often")
    pid = nursery.start(wrong, tmp_path / "forked")
    until(lambda: not prefork.is_alive(pid), "the forked operator ends")
    command = subprocess.run(
        [sys.executable, "-m", "fairlead_operator.cli", *wrong], capture_output=True, text=True, check=False
    )
    assert command.returncode == 2
    assert (tmp_path / "forked").read_text() == command.stderr


def test_none_outlives_the_process_that_forked_it(flags: tuple[str, ...], tmp_path: Path) -> None:
    with prefork.Nursery(AUTHORITIES) as nursery:
        pid = nursery.start((*flags, "--listen", f"127.0.0.1:{free_port()}"), tmp_path / "forked")
        assert prefork.is_alive(pid)
    until(lambda: not prefork.is_alive(pid), "the forked operator ends")
