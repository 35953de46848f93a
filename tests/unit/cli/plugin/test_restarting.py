"""`kubectl fairlead restart`, over the virtual world: the same model again as a new revision, and nothing else."""

from __future__ import annotations

import pytest
import typer.testing
from tests.support.plugin_cluster import WorldCluster
from tests.support.virtual_world import VirtualWorld

from fairlead_cli.plugin import cluster, commands, errors, restarting, writing

NAME = "digits"
FIRST, SECOND = {"uri": "file:///m/1", "version": "v1"}, {"uri": "file:///m/2", "version": "v2"}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> WorldCluster:
    """A model that serves."""
    world = VirtualWorld()
    world.apply(NAME, model=FIRST, scaling={"replicas": 2})
    world.settle()
    made = WorldCluster(world)
    monkeypatch.setattr(cluster, "connect", lambda **place: made)
    return made


def run(*arguments: str) -> tuple[int, str]:
    result = typer.testing.CliRunner().invoke(commands.app, list(arguments))
    return result.exit_code, " ".join(result.output.split())


def stable(found: WorldCluster) -> str:
    found.world.settle()
    return str(found.world.models[NAME].status["stableRevision"])


def test_a_restart_rolls_the_same_model_out_as_a_new_revision(found: WorldCluster) -> None:
    before = stable(found)
    code, output = run("restart", NAME)
    follow = f"follow it with: kubectl fairlead status {NAME} -n {found.namespace}"
    assert (code, output) == (0, f"{NAME} is rolled out again as a new revision; {follow}")
    assert stable(found) != before
    stored = found.world.models[NAME]
    assert stored.spec["model"] == FIRST
    assert stored.status["phase"] == "Ready"


def test_a_restart_is_written_for_what_was_read(found: WorldCluster) -> None:
    found.conflicts = 2
    assert run("restart", NAME)[0] == 0


def test_an_object_that_changes_at_each_attempt_is_left_alone(
    found: WorldCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WITHIN_S", 0.2)
    found.conflicts = 10**6
    assert run("restart", NAME) == (1, f"{NAME} changed at each attempt to write the restart; try again.")
    assert "serving" not in found.world.models[NAME].spec


def test_there_is_no_restart_during_a_rollout(found: WorldCluster) -> None:
    found.world.change(NAME, "rollout", {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]})
    found.world.change(NAME, "model", SECOND)
    found.world.settle()
    code, output = run("restart", NAME)
    assert code == 1
    assert output.startswith(f"{NAME} has a rollout in progress, of revision 2 (")
    assert output.endswith(f"). Wait for its end, or run `kubectl fairlead abort {NAME}`.")


def test_a_spec_that_was_left_by_a_rollback_is_not_started_by_a_restart(found: WorldCluster) -> None:
    found.world.change(NAME, "model", SECOND)
    found.world.settle()
    assert run("rollback", NAME, "--to", "1")[0] == 0
    before = stable(found)
    code, output = run("restart", NAME)
    assert code == 1
    assert output.startswith(f"The spec of {NAME} does not ask for revision 1 ({before}), which serves, and a restart")
    assert stable(found) == before


def test_a_model_that_never_served_has_nothing_to_restart(found: WorldCluster) -> None:
    found.world.apply("other", model=FIRST)
    with pytest.raises(errors.PluginError, match="other has no stable revision, so there is nothing to restart"):
        restarting.restart(found, "other")
