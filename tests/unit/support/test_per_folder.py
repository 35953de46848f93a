"""A folder's shared value is made once, ends as the run leaves the folder, and is not tried again once it failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CONFTEST = """
import contextlib
import pytest
from tests.support import per_folder

@pytest.fixture(scope="module")
def shared(request):
    @contextlib.contextmanager
    def made():
        print("\\n== opened", request.path.parent.name)
        OPENS
        yield object()
        print("\\n== closed", request.path.parent.name)
    return per_folder.shared(request, made)
"""
TEST = "def test_it(shared): print('\\n== used', __name__)\n"


def run(folder: Path, *, opens: str) -> list[str]:
    """What a pytest of its own prints of two folders, of two files each."""
    (folder / "conftest.py").write_text(CONFTEST.replace("OPENS", opens))
    for name in ("a/test_1", "a/test_2", "b/test_3", "b/test_4"):
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(TEST)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "--import-mode=importlib", "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line.startswith(("== ", "ERROR "))]


def test_it_is_open_from_the_first_file_of_the_folder_to_the_last(tmp_path: Path) -> None:
    used = ["== used a.test_1", "== used a.test_2"], ["== used b.test_3", "== used b.test_4"]
    assert run(tmp_path, opens="pass") == [
        *("== opened a", *used[0], "== closed a"),
        *("== opened b", *used[1], "== closed b"),
    ]


@pytest.mark.parametrize("error", ["raise ValueError('no room')", "assert False, 'no room'"])
def test_one_that_did_not_open_is_not_tried_again(tmp_path: Path, error: str) -> None:
    printed = run(tmp_path, opens=error)
    assert [line for line in printed if line.startswith("==")] == ["== opened a", "== opened b"]
    assert [line.split(" - ")[0] for line in printed if line.startswith("ERROR")] == [
        *("ERROR a/test_1.py::test_it", "ERROR a/test_2.py::test_it"),
        *("ERROR b/test_3.py::test_it", "ERROR b/test_4.py::test_it"),
    ]
