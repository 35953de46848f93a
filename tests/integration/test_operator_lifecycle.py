"""The life of a model through the real API server and the real operator, over a fake Ray and a fake gateway."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.operated import Operated

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def operated(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with Operated(kubernetes, tmp_path_factory.mktemp("operated")) as world:
        yield world


def test_an_applied_model_becomes_ready_with_a_proved_revision(operated: Operated) -> None:
    operated.apply("digits")
    status = operated.until_ready("digits")
    (kept,) = operated.revisions("digits")
    revision = kept["metadata"]["labels"]["fairlead.dev/revision"]
    assert status["stableRevision"] == revision
    assert kept["metadata"]["annotations"]["fairlead.dev/digest"].startswith("sha256:")
    assert operated.gateway.entries()["digits"]["stable"] == revision
    assert operated.ray.running(f"{operated.namespace}--digits--{revision}") == 1
