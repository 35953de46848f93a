"""The history keeps to its limit, also while one rollout follows the other."""

from __future__ import annotations

from tests.support.one_model import NAME, round_of, serving
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.api.status import RolloutPhase as Phase


def test_pushes_while_a_promote_is_awaited_keep_to_the_limit() -> None:
    world = VirtualWorld()
    world.apply(NAME, model={"uri": "file:///m/1"}, rollout={"strategy": "BlueGreen"}, revisionHistoryLimit=2)
    world.settle()
    first = serving(world).stable
    for number in range(2, 14):
        world.change(NAME, "model.uri", f"file:///m/{number}")
        for _ in range(30):
            round_of(world)
        assert len(world.models[NAME].revisions) <= 2 + 3, "two kept ones, stable, candidate and the one that leaves"
    assert serving(world).stable == first
    assert serving(world).phase is Phase.SHIFTING
    assert first in world.models[NAME].revisions
