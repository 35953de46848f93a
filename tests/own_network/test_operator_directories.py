"""The real operator finds Ray clusters, gateways and tokens on a real API server, under the shipped rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.discovered import Discovered
from tests.support.until import until

from fairlead_cli.local import cluster, manifests

pytestmark = pytest.mark.real

CANARY = {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]}


@pytest.fixture
def world(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Discovered]:
    with Discovered(kubernetes, tmp_path_factory.mktemp("directories")) as made:
        yield made


@pytest.fixture
def everywhere(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Discovered]:
    binding = manifests.rbac_files()[0].with_name("operator-cluster.yaml")  # not one of the local cluster's own
    kubernetes.kubectl("apply", "-f", str(binding))
    try:
        with Discovered(kubernetes, tmp_path_factory.mktemp("everywhere"), where=("--all-namespaces",)) as made:
            yield made
    finally:
        kubernetes.kubectl("delete", "-f", str(binding))


def serve(world: Discovered, name: str, **spec: object) -> str:
    """A class, its cluster, one gateway, and a model that is ready; the cluster's name."""
    cluster_name = world.write_class()
    world.apply_placed(name, **spec)
    world.until_cluster(cluster_name)
    world.start_head(cluster_name)
    world.start_gateway("g0")
    world.list_gateways(["g0"])
    world.until_ready(name)
    return cluster_name


def until_reason(world: Discovered, name: str, reason: str, words: str, *, kind: str = "Ready") -> None:
    def is_so() -> bool:
        found = world.condition(name, kind)
        return found.get("reason") == reason and words in found.get("message", "")

    until(is_so, f"{reason}: {words}", explain=lambda: world.explain(name))


def until_paused(world: Discovered, name: str) -> None:
    until(
        lambda: (world.status(name).get("rollout") or {}).get("currentStep") == 1 or _is_paused(world, name),
        "the canary holds at a quarter",
        explain=lambda: world.explain(name),
    )


def _is_paused(world: Discovered, name: str) -> bool:
    return world.condition(name, "Progressing").get("reason") == "Paused"


def test_a_model_waits_for_each_thing_that_it_needs_and_says_for_which(world: Discovered) -> None:
    world.apply_placed("digits")
    until_reason(world, "digits", "NoServingClass", world.class_name)
    name = world.write_class()
    until_reason(world, "digits", "RayClusterStarting", f"the head of RayCluster {name} is not ready yet")
    ray = world.start_head(name)
    until(lambda: bool(ray.applications()), "Ray gets the revision", explain=lambda: world.explain("digits"))
    world.start_gateway("g0")
    world.list_gateways(["g0"])
    world.until_ready("digits")
    (kept,) = world.revisions("digits")
    assert kept["data"]["cluster"] == name
    assert (
        world.api.routes()["digits"]["revisions"][kept["metadata"]["labels"]["fairlead.dev/revision"]]["cluster"]
        == name
    )
    assert world.token() not in world.operator.log.read_text()
    world.kubectl("delete", "mdep", "digits", "--timeout=400s")
    assert not ray.applications()


def test_with_all_namespaces_one_watch_of_a_kind_serves_each_namespace(everywhere: Discovered) -> None:
    """Under rules that allow the list of one Secret's name alone."""
    name = serve(everywhere, "digits")
    (kept,) = everywhere.revisions("digits")
    assert kept["data"]["cluster"] == name
    everywhere.kubectl("delete", "mdep", "digits", "--timeout=400s")


def test_another_image_moves_the_model_by_a_rollout_and_a_rotated_token_is_taken(world: Discovered) -> None:
    old = serve(world, "digits", rollout={"strategy": "Recreate"})
    first = world.status("digits")["stableRevision"]
    new = world.write_class("ray:2")
    assert new != old
    world.until_cluster(new)
    until_reason(world, "digits", "RayClusterStarting", new, kind="Progressing")
    world.apply_placed("digits", rollout={"strategy": "Recreate"}, scaling={"replicas": 2})
    until(lambda: world.status("digits").get("readyReplicas") == 2, "what serves is scaled meanwhile")
    assert world.status("digits")["stableRevision"] == first
    assert world.condition("digits", "Available")["status"] == "True"
    assert world.has_cluster(old), "what serves keeps its Ray cluster"
    world.rotate_token()
    ray = world.start_head(new)
    until(
        lambda: world.status("digits").get("stableRevision") not in (None, first),
        "the model has moved",
        explain=lambda: world.explain("digits"),
    )
    world.until_ready("digits")
    until(lambda: not world.heads.rays[old].applications(), "nothing is left on the old cluster")
    until(lambda: not world.has_cluster(old), "the old cluster is gone", explain=world.operator.tail)
    assert {each["data"]["cluster"] for each in world.revisions("digits")} == {new}
    assert len(ray.applications()) == 1
    world.kubectl("delete", "mdep", "digits", "--timeout=400s")


def test_every_member_confirms_while_gateways_come_end_and_go_and_the_operator_restarts(world: Discovered) -> None:
    serve(world, "digits", rollout=CANARY)
    old, new = world.gateways["g0"], world.start_gateway("g1")
    world.list_gateways(["g0", "g1"])
    old.is_frozen, old.connections = True, 1
    world.apply_placed("digits", "file:///models/better", rollout=CANARY)
    until_reason(world, "digits", "Connecting", "gateway g0 to apply", kind="Progressing")
    world.operator.kill()
    world.list_gateways(["g0", "g1"], ending=["g0"])
    world.start_operator()
    until_reason(world, "digits", "Connecting", "gateway g0 to apply", kind="Progressing")
    old.connections = 0
    until_paused(world, "digits")
    world.start_gateway("g2").is_frozen = True
    world.list_gateways(["g1", "g2"], unready=["g2"])
    world.apply_placed("digits", "file:///models/best", rollout=CANARY)
    until_paused_at(world, "best")
    world.list_gateways(["g1", "g2"])
    world.apply_placed("digits", "file:///models/last", rollout=CANARY)
    until_reason(world, "digits", "Withdrawing", "gateway g2 to apply", kind="Progressing")
    world.list_gateways(["g1"])
    until_paused_at(world, "last")
    assert new.entries()["digits"]["candidateWeight"] == 2500
    world.kubectl("delete", "mdep", "digits", "--timeout=400s")


def until_paused_at(world: Discovered, word: str) -> None:
    """The canary of the model at this URI holds."""

    def is_so() -> bool:
        candidate = world.status("digits").get("candidateRevision")
        kept = {each["metadata"]["labels"]["fairlead.dev/revision"]: each for each in world.revisions("digits")}
        is_it = candidate in kept and word in kept[candidate]["data"]["template"]["model"]["uri"]
        return is_it and _is_paused(world, "digits")

    until(is_so, f"{word} is at a quarter", explain=lambda: world.explain("digits"))
