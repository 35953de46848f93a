"""The tests of ``tests/own_network``, all in one network namespace, with one API server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
ROOT = Path(__file__).resolve().parents[2]


def test_listeners_at_an_address_that_is_not_loopback_are_in_a_network_of_their_own() -> None:
    argv = [sys.executable, "-m", "tests.own_network", "-p", "no:cacheprovider", "--durations=5"]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, "python -m tests.own_network: its output is above"
