"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import published_files


@pytest.fixture
def published() -> Iterator[published_files.Published]:
    with published_files.serving() as content:
        yield content


@pytest.fixture
def reporter() -> published_files.RecordingReporter:
    return published_files.RecordingReporter()
