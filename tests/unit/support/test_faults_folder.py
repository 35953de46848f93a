"""Two campaigns of faults never work in the same folder, and neither forgets what it must not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults import folder

HOLD = """
import sys
from pathlib import Path
from tests.faults import folder
with folder.held(Path(sys.argv[1]), code="one", is_fresh=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def living(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process's campaign, which has found something."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "faults")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    (tmp_path / "faults" / "results.jsonl").write_text("found\n")
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait()


def held(path: Path, *, code: str = "one", is_fresh: bool = False) -> set[str]:
    """What the folder holds to begin with."""
    with folder.held(path, code=code, is_fresh=is_fresh):
        return {found.name for found in path.iterdir()}


@pytest.mark.parametrize("is_fresh", [False, True])
def test_a_second_campaign_says_who_works_there_and_leaves_it_alone(
    tmp_path: Path, living: subprocess.Popen[str], is_fresh: bool
) -> None:
    with pytest.raises(folder.TakenError, match=rf"worked in by process {living.pid} since \d\d:\d\d:\d\d"):
        held(tmp_path / "faults", code="two", is_fresh=is_fresh)

    assert (tmp_path / "faults" / "results.jsonl").read_text() == "found\n"


def test_whoever_comes_after_the_end_of_the_first_has_the_folder(tmp_path: Path) -> None:
    assert held(tmp_path / "faults") == {"version", "logs"}
    assert held(tmp_path / "faults") == {"version", "logs"}


@pytest.mark.parametrize(
    ("code", "is_fresh", "is_kept"), [("one", False, True), ("two", False, False), ("one", True, False)]
)
def test_results_are_kept_for_the_same_code_alone(tmp_path: Path, code: str, is_fresh: bool, is_kept: bool) -> None:
    path = tmp_path / "faults"
    held(path)
    (path / "results.jsonl").write_text("found\n")
    (path / "logs" / f"of-{os.getpid()}.log").write_text("old\n")

    assert ("results.jsonl" in held(path, code=code, is_fresh=is_fresh)) is is_kept
    assert list((path / "logs").iterdir()) == []


def test_what_a_killed_campaign_left_of_its_cluster_stays_for_the_next_to_end(tmp_path: Path) -> None:
    path = tmp_path / "faults"
    held(path)
    (path / "cluster").mkdir()
    (path / "cluster" / "processes.json").write_text("{}")
    (path / "cluster.lock").write_text("")

    assert {"cluster", "cluster.lock"} <= held(path, is_fresh=True)
    assert (path / "cluster" / "processes.json").exists()
