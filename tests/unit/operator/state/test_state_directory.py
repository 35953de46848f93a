"""The Ray clusters that are given by flags, and which of them a model chooses."""

from __future__ import annotations

from fairlead_operator.state.directory import Cluster, Placement, StaticClusters, Unplaced
from fairlead_operator.state.reasons import Reason

CPU, GPU = Cluster(name="default", url="http://127.0.0.1:1"), Cluster(name="gpu", url="http://127.0.0.1:2")
LISTED = StaticClusters({"models": (CPU, GPU)})


def test_a_model_runs_on_the_cluster_of_its_class_and_without_one_on_the_first() -> None:
    assert LISTED.place("models", None) == LISTED.place("models", "default") == Placement(cluster="default")
    assert LISTED.place("models", "gpu") == Placement(cluster="gpu")
    assert LISTED.placements("models") == {"default", "gpu"}


def test_a_class_that_is_not_there_is_named_with_those_that_are() -> None:
    found = LISTED.place("models", "tpu")
    assert isinstance(found, Unplaced)
    assert found.reason is Reason.NO_SERVING_CLASS
    assert found.message == (
        "No Ray cluster tpu is configured for namespace models. Set spec.cluster.class to one of default, gpu, or "
        "leave it out."
    )


def test_a_namespace_without_a_cluster_has_no_place_for_any_class() -> None:
    for name in (None, "gpu"):
        found = LISTED.place("other", name)
        assert isinstance(found, Unplaced)
        assert found.reason is Reason.NO_RAY_CLUSTER
