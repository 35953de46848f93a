"""Fixtures that every test may ask for; they live in `tests/support`, by what they are about."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from tests.support import nightly
from tests.support.local_cluster import kubernetes, local_cluster
from typing_extensions import override
from xdist import remote
from xdist.scheduler import loadscope

__all__ = ["kubernetes", "local_cluster"]

# Each process of the suite rewrites the assertions of all test files and compiles them, unless an earlier run kept it.
sys.dont_write_bytecode = False

# Two halves of about the same time: what breaks parts, scales, shadows and matches; and the strategies with the rest.
ON_THE_FIRST_CLUSTER = (
    "test_apply_to_prediction",
    "test_scale_and_delete",
    "test_version_change",
    "test_bad_revisions",
    "test_restarts",
    "test_shadow",
    "test_shadow_analysis",
    "test_matches",
    "test_feedback",
    "test_idle",
    "test_autoscaling",
    "test_signature_contract",
    "test_required_evaluation",
    "test_optimized_model",
)


EXAMPLES = 100
"""Of a test that names no number, in a nightly run: Hypothesis's own default."""
ON_ONE_RAY_CLUSTER = "tests/integration/on_ray/"


class ByFile(loadscope.LoadScopeScheduling):
    """Where the suite is split over processes, a file stays in one.

    The end-to-end stories share two clusters, and the tests on Ray alone share one.

    (Its own `loadgroup` writes the group into a private attribute that pytest 9 has no more, and so groups nothing.)
    """

    @override
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        if path.startswith(ON_ONE_RAY_CLUSTER):
            return ON_ONE_RAY_CLUSTER
        if not path.startswith("tests/e2e/"):
            return path
        return "e2e" if Path(path).stem in ON_THE_FIRST_CLUSTER else "e2e rollouts"


def pytest_xdist_make_scheduler(config: pytest.Config, log: remote.Producer) -> ByFile:
    return ByFile(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    nightly.add_option(parser)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    nightly.deselect(config, items)


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the tier and the number of Hypothesis's examples, and makes asking for a loop outside of one an error.

    Else looptime's hook, which asks before every test, makes one in the first synchronous test; nobody closes it, and
    the first asynchronous test after it fails for an unclosed loop.

    Source: looptime 0.7, _internal/plugin.py, pytest_pyfunc_call.
    """
    nightly.choose(config)
    # An example's time is the machine's: no test asserts one. A run has the same examples as the one before.
    hypothesis.settings.register_profile(
        "fairlead",
        deadline=None,
        derandomize="FAIRLEAD_RANDOM" not in os.environ,
        max_examples=EXAMPLES if nightly.is_chosen() else EXAMPLES // 2,
    )
    hypothesis.settings.load_profile("fairlead")
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def unchanged_log_level() -> Iterator[None]:
    """Asserts that a test leaves the level of the process's log: a test after it would not see a warning."""
    level = logging.getLogger().level
    yield
    assert logging.getLogger().level == level
