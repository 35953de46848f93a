"""A second Ray cluster for as long as a test needs it; operator, gateway and replicas know it as a class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.ray_view import RayView
from tests.e2e.stage import Stage

from fairlead_cli.local import cluster, ray_node, state

NAME = "second"
CPUS = 1
"""Of the second cluster; the first one has eight."""


@contextmanager
def second_class(stage: Stage) -> Iterator[RayView]:
    """What runs on it. Gateway and operator are started again with both, and at the end with the first one alone."""
    local = stage.local
    _choose(local, second_class=NAME, second_cpus=CPUS)
    try:
        local.start(ray_node.SECOND.part)
        view = RayView(local, ray_node.SECOND)
        try:
            yield view
        finally:
            view.close()
    finally:
        local.stop(ray_node.SECOND.part)
        _choose(local, second_class="")


def _choose(local: cluster.LocalCluster, **options: object) -> None:
    remembered = state.State.read(local.root / "state.json")
    assert remembered is not None
    chosen = remembered.chosen.model_copy(update=options)
    remembered.model_copy(update={"chosen": chosen}).write(local.root / "state.json")
    for part in ("gateway", "operator"):
        local.restart(part)
