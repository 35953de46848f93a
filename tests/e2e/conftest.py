"""One whole local cluster for the folder; the cheap stories first, for they tell soonest that something is broken."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

import pytest
from tests.e2e import measured
from tests.e2e.stage import Stage, raised
from tests.support import made_once, per_folder

ORDER = (
    "test_apply_to_prediction",
    "test_bucket",
    "test_scale_and_delete",
    "test_autoscaling",
    "test_to_zero",
    "test_version_change",
    "test_discovery",
    "test_canary",
    "test_canary_analysis",
    "test_shadow",
    "test_matches",
    "test_feedback",
    "test_shadow_analysis",
    "test_signature_contract",
    "test_required_evaluation",
    "test_stages",
    "test_optimized_model",
    "test_rollback_window",
    "test_rolling_update",
    "test_recreate",
    "test_plugin_traffic",
    "test_bad_revisions",
    "test_restarts",
    "test_killed_replicas",
    "test_move",
    "test_idle",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of cost; the rest of the suite stays where it is."""
    places = [index for index, item in enumerate(items) if item.path.parent.name == "e2e"]
    ordered = sorted((items[index] for index in places), key=lambda item: ORDER.index(item.path.stem))
    for index, item in zip(places, ordered, strict=True):
        items[index] = item


def pytest_sessionstart(session: pytest.Session) -> None:
    """What an earlier run counted is not this one's; with processes, only the one that prints the end takes it away."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(measured.FOLDER, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The counts, beside pytest's own."""
    if found := sorted(measured.FOLDER.glob("*.md")):
        terminalreporter.section("measured end to end")
        for path in found:
            terminalreporter.write_line(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """Kubernetes, Ray, gateway and operator, and two trained versions of a model, for the whole folder.

    With ``FAIRLEAD_E2E_FOLDER`` they are kept in that folder and keep running, for work on one of the tests.
    """
    kept = os.environ.get("FAIRLEAD_E2E_FOLDER")

    @contextlib.contextmanager
    def made() -> Iterator[Stage]:
        if kept:
            opened = raised(pathlib.Path(kept), keep=True)
        else:
            opened = raised(
                tmp_path_factory.mktemp("e2e"), models_in=made_once.of_the_run(tmp_path_factory) / "e2e-models"
            )
        with opened as found:
            yield found
        measured.RESULTS.keep()

    return per_folder.shared(request, made)
