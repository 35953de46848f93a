"""Two Ray clusters in one namespace, through the real API server and the real operator, over fakes of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.fake_ray import Trap
from tests.support.operated import Operated
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

FOREIGN = {"name": "someone", "import_path": "their.app:build", "route_prefix": "/someone"}


@pytest.fixture
def operated(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    folder = tmp_path_factory.mktemp("clusters")
    with Operated(kubernetes, folder, clusters=("default", "gpu")) as world:
        for ray in world.rays.values():
            ray.deploy_beside(FOREIGN)
        yield world


def placed(operated: Operated, name: str) -> dict[str, str]:
    """The Ray cluster of each kept revision, by revision."""
    kept = operated.revisions(name)
    return {each["metadata"]["labels"]["fairlead.dev/revision"]: each["data"]["cluster"] for each in kept}


def ours(operated: Operated, cluster_name: str, name: str) -> set[str]:
    """The revisions of a model that run on a cluster."""
    prefix = f"{operated.namespace}--{name}--"
    return {app.removeprefix(prefix) for app in operated.rays[cluster_name].applications() if app.startswith(prefix)}


def test_a_move_to_another_cluster_is_a_rollout_and_touches_no_foreign_application(operated: Operated) -> None:
    operated.apply("moving")
    first = operated.until_ready("moving")["stableRevision"]
    assert placed(operated, "moving") == {first: "default"}
    assert ours(operated, "gpu", "moving") == set()
    operated.operator.stop()
    operated.start_operator("gpu", "default")
    until(lambda: operated.status("moving").get("stableRevision") not in (None, first), "another one is stable")
    second = operated.until_ready("moving")["stableRevision"]
    assert placed(operated, "moving") == {first: "default", second: "gpu"}
    until(lambda: not ours(operated, "default", "moving"), "the old cluster stops its replicas")
    assert ours(operated, "gpu", "moving") == {second}
    assert operated.api.routes()["moving"]["revisions"][second]["cluster"] == "gpu"
    for ray in operated.rays.values():
        assert "someone" in ray.applications()
        assert all("someone" in {app["name"] for app in put["applications"]} for put in ray.puts)
    operated.kubectl("delete", "mdep", "moving", "--timeout=400s")
    assert not ours(operated, "gpu", "moving")
    assert all("someone" in ray.applications() for ray in operated.rays.values())


def test_a_model_moves_to_the_cluster_that_its_class_names(operated: Operated) -> None:
    operated.apply("choosing")
    first = operated.until_ready("choosing")["stableRevision"]
    operated.apply("choosing", cluster={"class": "gpu"})
    until(lambda: operated.status("choosing").get("stableRevision") not in (None, first), "another one is stable")
    second = operated.until_ready("choosing")["stableRevision"]
    assert placed(operated, "choosing") == {first: "default", second: "gpu"}
    until(lambda: not ours(operated, "default", "choosing"), "the old cluster stops its replicas")
    operated.apply("choosing", cluster={"class": "tpu"})
    until(lambda: operated.condition("choosing", "Accepted").get("status") == "False", "an unknown class is refused")
    assert "one of default, gpu" in operated.condition("choosing", "Accepted")["message"]
    assert ours(operated, "gpu", "choosing") == {second}
    operated.kubectl("delete", "mdep", "choosing", "--timeout=400s")


def test_one_cluster_that_is_away_holds_up_its_own_models_alone(operated: Operated) -> None:
    operated.apply("staying")
    first = operated.until_ready("staying")["stableRevision"]
    operated.rays["gpu"].set_trap(Trap.UNAVAILABLE)
    operated.apply("staying", scaling={"replicas": 3})
    until(lambda: operated.status("staying").get("readyReplicas") == 3, "three replicas are ready")
    assert operated.status("staying")["stableRevision"] == first
    operated.kubectl("delete", "mdep", "staying", "--timeout=400s")


def test_another_version_of_the_operator_restarts_nothing(operated: Operated) -> None:
    """Whatever the operator would compose by now, Ray keeps what the revision keeps."""
    operated.apply("kept")
    operated.until_ready("kept")
    before = _composed(operated)
    operated.operator.stop()
    operated.start_operator("default")
    operated.apply("kept", scaling={"replicas": 2})
    until(lambda: operated.status("kept").get("readyReplicas") == 2, "two replicas are ready")
    assert _composed(operated) == before


def _composed(operated: Operated) -> dict[str, Any]:
    """What the replicas of the model were started with, by application."""
    found = operated.ray.applications().items()
    return {name: app["args"] for name, app in found if name.startswith("default--kept--")}
