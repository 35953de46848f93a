"""docs/metrics.md is what the programs register, and every label has a stated bound."""

from __future__ import annotations

import os

import pytest
from tests.support import metrics_reference

REFRESH = os.environ.get("FAIRLEAD_REFRESH") == "1"
PROGRAMS = metrics_reference.programs()


def test_the_page_is_current() -> None:
    if REFRESH:
        metrics_reference.PAGE.write_text(metrics_reference.page())
    assert metrics_reference.PAGE.read_text() == metrics_reference.page(), "refresh it with FAIRLEAD_REFRESH=1"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.title)
def test_every_label_has_a_bound_and_every_bound_a_label(program: metrics_reference.Program) -> None:
    assert {label for metric in program.metrics for label in metric.labels} == set(program.bounds)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.title)
def test_every_metric_is_ours_or_the_processs_and_says_what_it_counts(program: metrics_reference.Program) -> None:
    prefixes = (f"fairlead_{program.title.lower()}_", "process_")
    assert [metric.name for metric in program.metrics if not metric.name.startswith(prefixes)] == []
    assert [metric.name for metric in program.metrics if len(metric.text) < 5] == []
    assert len({metric.name for metric in program.metrics}) == len(program.metrics)
