"""The processor time of a test is that of its process and of the processes that it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BURNS = """
import subprocess, sys, time

BUSY = "import time\\nwhile time.process_time() < 0.4: pass"

def test_alone():
    end_s = time.process_time() + 0.4
    while time.process_time() < end_s:
        pass

def test_by_a_child_that_it_waits_for():
    subprocess.run([sys.executable, "-c", BUSY], check=True)

def test_by_one_that_goes_on():
    global going
    going = subprocess.Popen([sys.executable, "-c", BUSY + "\\nprint()\\ntime.sleep(600)"], stdout=subprocess.PIPE)
    going.stdout.readline()

def test_nothing():
    pass

def test_its_end():
    going.stdout.close()
    going.kill()
    going.wait()
"""


def test_each_file_has_its_time(tmp_path: Path) -> None:
    for name in ("pytest.ini", "tests/a/test_idle.py", "tests/a/test_burns.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "tests/a/test_burns.py").write_text(BURNS)
    (tmp_path / "tests/a/test_idle.py").write_text("def test_nothing(): pass\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.processor_time", "-p", "no:cacheprovider", "tests"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = {path: (float(s), int(n)) for s, n, path in re.findall(r"([\d.]+) s +(\d+) tests  (\S+)", done.stdout)}
    assert set(found) == {"tests/a", "tests/a/test_burns.py", "tests/a/test_idle.py"}, done.stdout + done.stderr
    assert found["tests/a"][1] == 6
    used_s, tests = found["tests/a/test_burns.py"]
    assert tests == 5
    assert used_s >= 1.2
    assert found["tests/a/test_idle.py"][0] < 0.4
