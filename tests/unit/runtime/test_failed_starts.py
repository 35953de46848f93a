"""A replica waits before it starts while others of its revision fail to start, and not for anybody else's failures."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fairlead_runtime import failed_starts
from fairlead_runtime.failed_starts import FREE, FailedStarts, compute_pause_s


def failures_of(cache_dir: Path, revision: str = "a" * 10, *, attempt: int = 0) -> FailedStarts:
    return FailedStarts(cache_dir, namespace="default", model="digits", revision=revision, attempt=attempt)


def record(failed: FailedStarts, cache_dir: Path, times: int) -> None:
    """Failures, each two seconds after the one before."""
    for _ in range(times):
        failed.record()
        age(cache_dir, by_s=2)
    age(cache_dir, by_s=-2)


def age(cache_dir: Path, *, by_s: float) -> None:
    for path in (cache_dir / failed_starts.FOLDER).iterdir():
        changed_s = path.stat().st_mtime - by_s
        os.utime(path, (changed_s, changed_s))


def test_the_pause_doubles_from_the_first_failure_that_is_not_free() -> None:
    pauses = [compute_pause_s(FREE + more, 0) for more in range(8)]
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("since_last_s", "pause_s"),
    [
        pytest.param(3, 5, id="what is left of it"),
        pytest.param(9, 0, id="it is over"),
        pytest.param(121, 0, id="the failures are forgotten"),
        pytest.param(-5, 0, id="the clock was set back"),
    ],
)
def test_the_pause_counts_from_the_last_failure(since_last_s: float, pause_s: float) -> None:
    assert compute_pause_s(FREE + 4, since_last_s) == pause_s


def test_another_process_finds_the_failures_and_a_start_ends_them(tmp_path: Path) -> None:
    record(failures_of(tmp_path), tmp_path, FREE + 4)
    assert failures_of(tmp_path).pause_s() == pytest.approx(8, abs=1)
    failures_of(tmp_path).clear()
    assert failures_of(tmp_path).pause_s() == 0


def test_other_revisions_and_a_retry_have_failures_of_their_own(tmp_path: Path) -> None:
    record(failures_of(tmp_path), tmp_path, FREE + 4)
    assert failures_of(tmp_path, "b" * 10).pause_s() == 0
    assert failures_of(tmp_path, attempt=1).pause_s() == 0


def test_replicas_that_fail_together_count_once(tmp_path: Path) -> None:
    failed = failures_of(tmp_path)
    for _ in range(FREE + 4):
        failed.record()
    assert failed.pause_s() == 0


def test_failures_that_follow_each_other_within_a_second_are_counted(tmp_path: Path) -> None:
    """Ray's next start may fail less than half a second after the last one, again and again."""
    failed = failures_of(tmp_path)
    for _ in range(4 * FREE):
        failed.record()
        age(tmp_path, by_s=failed_starts.TOGETHER_S / 2)
    assert failed.pause_s() > 0


def test_files_of_forgotten_failures_are_removed_by_the_next_one(tmp_path: Path) -> None:
    for number in range(3):
        failures_of(tmp_path, f"{number:010}").record()
    age(tmp_path, by_s=failed_starts.FORGOTTEN_AFTER_S + 1)
    failures_of(tmp_path).record()
    assert len(list((tmp_path / failed_starts.FOLDER).iterdir())) == 1


def test_where_nothing_can_be_written_there_is_no_pause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    failed = failures_of(tmp_path / "file")
    failed.record()
    assert failed.pause_s() == 0
    assert "can't be counted" in caplog.text


def test_the_count_is_bounded_and_takes_no_block(tmp_path: Path) -> None:
    record(failures_of(tmp_path), tmp_path, failed_starts.COUNT_MAX + 2)
    (path,) = (tmp_path / failed_starts.FOLDER).iterdir()
    assert (path.stat().st_size, path.stat().st_blocks) == (failed_starts.COUNT_MAX, 0)
    assert time.time() - path.stat().st_mtime < failed_starts.FORGOTTEN_AFTER_S
