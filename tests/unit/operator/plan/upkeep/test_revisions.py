"""The history of a model: as long as the spec says, whatever is being rolled out."""

from __future__ import annotations

from tests.support.one_model import NAME, serving, until
from tests.support.virtual_world import VirtualWorld

from fairlead_operator.state.reasons import Reason

LIMIT = 2


def is_shown(world: VirtualWorld) -> bool:
    """The desired revision is the candidate, and waits for a person."""
    newest = max(world.models[NAME].revisions.values(), key=lambda revision: revision.number)
    uri = world.spec(NAME).model.uri
    is_newest = serving(world).candidate == newest.revision and newest.template.model.uri == uri
    return is_newest and world.plans[-1].reason is Reason.PAUSED


def test_the_history_is_trimmed_while_rollouts_follow_each_other() -> None:
    """A preview waits for a person, and somebody pushes one version after the other."""
    world = VirtualWorld()
    spec = {"rollout": {"strategy": "BlueGreen"}, "revisionHistoryLimit": LIMIT}
    world.apply(NAME, model={"uri": "file:///m/0"}, **spec)
    world.settle()
    kept = world.models[NAME].revisions
    for number in range(1, 8):
        world.change(NAME, "model.uri", f"file:///m/{number}")
        until(world, lambda: is_shown(world))
        assert len(kept) <= LIMIT + 2, "the stable one, the candidate, and those for a way back"
    assert serving(world).stable in kept
    assert serving(world).candidate in kept
