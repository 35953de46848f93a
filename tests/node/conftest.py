"""One node for all tests of this folder; those that break one have their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rich.console
from tests.support import leftovers

from fairlead_cli.local import progress
from fairlead_cli.local.node import cluster


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cluster.NodeCluster]:
    reporter = progress.RichReporter(rich.console.Console(stderr=True))
    made = cluster.NodeCluster("tests", tmp_path_factory.mktemp("node") / "cluster", reporter=reporter)
    with leftovers.owned(made):
        made.up()
        yield made


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[cluster.NodeCluster]:
    """A node that the test itself starts."""
    made = cluster.NodeCluster("own", tmp_path / "cluster")
    with leftovers.owned(made):
        yield made
