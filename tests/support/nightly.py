"""Which tier this run is: the daily one, or the nightly one of ``--nightly``, with every test and each story whole.

A test that is marked ``nightly`` is deselected from a daily run; docs/development/tests.md names for each of them the
daily test of the same code.
"""

from __future__ import annotations

import dataclasses

import pytest

MARK = "nightly"


@dataclasses.dataclass
class _Run:
    is_nightly: bool = False


_RUN = _Run()


def is_chosen() -> bool:
    """Whether every test runs, and each story with all of its requests and waits."""
    return _RUN.is_nightly


def examples(count: int) -> int:
    """How many examples Hypothesis draws of a test: `count` in a nightly run, else a third of them."""
    return count if is_chosen() else count // 3


def add_option(parser: pytest.Parser) -> None:
    """``--nightly``, for pytest and for ``python -m tests``."""
    parser.addoption("--nightly", action="store_true", help="run every test, and each story whole")


def choose(config: pytest.Config) -> None:
    """Before any test file is imported: constants of stories depend on it."""
    _RUN.is_nightly = bool(config.getoption("nightly"))


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the nightly tests out of a daily run."""
    if is_chosen():
        return
    left_out = [item for item in items if item.get_closest_marker(MARK) is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker(MARK) is None]
