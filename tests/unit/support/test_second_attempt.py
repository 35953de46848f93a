"""A few failed tests run once more, alone; many, or another end of the run, do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import second_attempt

ONCE = """
import pathlib

def test_once():
    seen = pathlib.Path(__file__).with_name("seen")
    if not seen.exists():
        seen.touch()
        raise AssertionError("the first time")

def test_always():
    raise AssertionError("each time")
"""


def run_here(folder: Path, *names: str) -> tuple[int, list[str], list[str]]:
    """The exit code of a first run, its failures, and the options that keep this repository's settings out."""
    file = folder / f"{folder.name}_test.py"  # Modules of the same name are imported once.
    file.write_text(ONCE)
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:asyncio",
        "--import-mode=importlib",
        f"--rootdir={folder}",
        "-c",
    ]
    options.append(str(folder / "pytest.ini"))
    (folder / "pytest.ini").write_text("[pytest]\n")
    failures = second_attempt.Failures()
    code = pytest.main([*options, *(f"{file}::{name}" for name in names)], plugins=[failures])
    return int(code), [f"{file}::{test.partition('::')[2]}" for test in failures.tests], options


def test_a_test_that_passes_alone_is_reported_as_flaky(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, failed, options = run_here(tmp_path, "test_once")
    assert (code, len(failed)) == (1, 1)
    assert second_attempt.run_again(code, failed, options) == 0
    assert f"FLAKY {failed[0]}" in capfd.readouterr().out


def test_a_test_that_fails_again_fails_the_suite(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, failed, options = run_here(tmp_path, "test_once", "test_always")
    assert (code, len(failed)) == (1, 2)
    assert second_attempt.run_again(code, failed, options) == 1
    assert "FLAKY" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        pytest.param(0, [], id="all passed"),
        pytest.param(1, ["a::b"] * (second_attempt.TESTS_MAX + 1), id="many failed"),
        pytest.param(2, ["a::b"], id="interrupted"),
        pytest.param(4, [], id="wrong options"),
    ],
)
def test_every_other_end_of_the_run_stays_as_it_is(
    code: int, failed: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert second_attempt.run_again(code, failed) == code
    assert capfd.readouterr().out == ""
