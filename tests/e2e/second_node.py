"""A second Ray node for as long as a test needs it; the gateway asks both nodes meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.stage import Stage

from fairlead_cli.local import cluster, state


@contextmanager
def second_node(stage: Stage) -> Iterator[None]:
    """The gateway is started again with the nodes of the cluster, and at the end with the first one alone."""
    local = stage.local
    _set_nodes(local, 2)
    try:
        local.start("worker")
        yield
    finally:
        local.stop("worker")
        _set_nodes(local, 1)


def _set_nodes(local: cluster.LocalCluster, count: int) -> None:
    remembered = state.State.read(local.root / "state.json")
    assert remembered is not None
    chosen = remembered.chosen.model_copy(update={"ray_nodes": count})
    remembered.model_copy(update={"chosen": chosen}).write(local.root / "state.json")
    local.restart("gateway")
