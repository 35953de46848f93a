"""The counting client over one model, and what a test says of its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.stage import RATE, Model

from fairlead_cli import load

CONNECTIONS = 8


@contextmanager
def counted(model: Model, *, connections: int = CONNECTIONS, rate: float | None = RATE) -> Iterator[load.Background]:
    """Requests to the model, counted, for as long as the block lasts."""
    with load.background(model.load(connections=connections, rate=rate)) as run:
        yield run


def require_no_failures(report: load.Report) -> None:
    """Every failure is reported, not only the first ten."""
    failures = "\n".join(each.model_dump_json() for each in report.failures)
    assert report.failed == 0, f"{report.summary()}\n{failures}"


def count_by_revision(run: load.Background, revision: str) -> int:
    """Its answers until now: what was heard last may be a quarter of a second old, what is heard next is not."""
    before = run.progress().requests
    return run.wait_until(lambda now: now.requests > before, timeout_s=400).revisions.get(revision, 0)
