"""The life of a model through the real API server and the real operator, over a fake Ray and a fake gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support.fake_ray import Trap
from tests.support.operated import PUBLIC_URL, Operated
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def operated(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with Operated(kubernetes, tmp_path_factory.mktemp("operated")) as world:
        yield world


@pytest.fixture(autouse=True)
def running_operator(operated: Operated) -> None:
    """No test is the victim of what ended the operator in the one before."""
    operated.require_operator()


def test_an_applied_model_becomes_ready_with_a_proved_revision(operated: Operated) -> None:
    operated.apply("digits")
    status = operated.until_ready("digits")
    (kept,) = operated.revisions("digits")
    revision = kept["metadata"]["labels"]["fairlead.dev/revision"]
    assert status["stableRevision"] == revision
    assert status["endpoints"] == {"v1": f"{PUBLIC_URL}/v1/models/digits", "v2": f"{PUBLIC_URL}/v2/models/digits"}
    assert kept["metadata"]["annotations"]["fairlead.dev/digest"].startswith("sha256:")
    assert operated.gateway.entries()["digits"]["stable"] == revision
    assert operated.ray.running(f"{operated.namespace}--digits--{revision}") == 1


def test_events_describe_the_first_rollout(operated: Operated) -> None:
    operated.apply("told")
    operated.until_ready("told")
    until(lambda: {"RevisionCreated", "Promoted"} <= operated.event_reasons("told"), "the events were sent")


def test_a_changed_model_replaces_the_revision_and_the_old_one_leaves_ray(operated: Operated) -> None:
    operated.apply("changed", uri="file:///models/one")
    old = operated.until_ready("changed")["stableRevision"]
    operated.apply("changed", uri="file:///models/two")
    new = operated.until_ready("changed")["stableRevision"]
    assert new != old
    assert set(operated.gateway.entries()["changed"]["revisions"]) == {new}
    application = f"{operated.namespace}--changed--{old}"
    until(lambda: application not in operated.ray.applications(), "the old application is gone")
    assert [item["revision"] for item in operated.revisions("changed")] == [1, 2]


def test_going_back_to_an_earlier_spec_adopts_its_revision(operated: Operated) -> None:
    operated.apply("back", uri="file:///models/one")
    first = operated.until_ready("back")["stableRevision"]
    operated.apply("back", uri="file:///models/two")
    operated.until_ready("back")
    operated.apply("back", uri="file:///models/one")
    assert operated.until_ready("back")["stableRevision"] == first
    assert len(operated.revisions("back")) == 2


def test_a_revision_that_cannot_be_loaded_is_quarantined_and_the_old_one_serves_on(operated: Operated) -> None:
    operated.apply("kept")
    stable = operated.until_ready("kept")["stableRevision"]
    operated.apply("kept", uri="file:///models/broken")
    until(
        lambda: operated.status("kept").get("quarantine"),
        "the broken revision is quarantined",
        explain=lambda: operated.explain("kept"),
    )
    until(lambda: operated.status("kept").get("rollout") is None, "the rollout ended")
    assert operated.status("kept")["stableRevision"] == stable
    assert operated.gateway.entries()["kept"]["stable"] == stable
    conditions = operated.status("kept")["conditions"]
    assert any("not a SavedModel" in condition["message"] for condition in conditions), conditions
    puts = len(operated.ray.puts)
    operated.kubectl("annotate", "mdep", "kept", "touched=yes")
    operated.apply("other")
    operated.until_ready("other")
    later = [a["name"] for put in operated.ray.puts[puts:] for a in put["applications"] if "--kept--" in a["name"]]
    assert set(later) == {f"{operated.namespace}--kept--{stable}"}, "the failed revision was tried again"


def test_a_failed_prediction_keeps_a_revision_from_traffic(operated: Operated) -> None:
    operated.gateway.failing_predictions.add("silly")
    operated.apply("proved")
    stable = operated.until_ready("proved")["stableRevision"]
    operated.apply("proved", uri="file:///models/silly")
    until(
        lambda: operated.status("proved").get("quarantine"),
        "the candidate was quarantined",
        explain=lambda: operated.explain("proved"),
    )
    assert operated.gateway.entries()["proved"]["stable"] == stable


def test_kubectl_scale_changes_the_replicas_and_makes_no_revision(operated: Operated) -> None:
    operated.apply("scaled")
    revision = operated.until_ready("scaled")["stableRevision"]
    operated.kubectl("scale", "mdep", "scaled", "--replicas=3")
    application = f"{operated.namespace}--scaled--{revision}"
    until(
        lambda: operated.ray.running(application) == 3, "three replicas run", explain=lambda: operated.explain("scaled")
    )
    until(lambda: operated.status("scaled").get("readyReplicas") == 3, "the status counts three")
    operated.until_ready("scaled")
    assert len(operated.revisions("scaled")) == 1


def test_a_deleted_model_leaves_nothing_behind(operated: Operated) -> None:
    operated.apply("gone")
    operated.until_ready("gone")
    operated.kubectl("delete", "mdep", "gone", "--timeout=200s")
    assert "gone" not in operated.gateway.entries()
    assert not [name for name in operated.ray.applications() if "--gone--" in name]
    until(lambda: not operated.revisions("gone"), "the garbage collector removed the history")


def test_a_deletion_waits_for_ray_reports_it_and_then_finishes(operated: Operated) -> None:
    operated.apply("waiting")
    operated.until_ready("waiting")
    operated.ray.set_trap(Trap.UNAVAILABLE)
    operated.kubectl("delete", "mdep", "waiting", "--wait=false")
    message = until(
        lambda: "Ray" in str(operated.status("waiting").get("conditions")) and operated.get("waiting"),
        "the status says what it waits for",
        explain=lambda: operated.explain("waiting"),
    )
    assert message["metadata"]["deletionTimestamp"]
    assert "fairlead.dev/serving" in message["metadata"]["finalizers"]
    operated.ray.set_trap(Trap.NONE)
    until(lambda: operated.get("waiting") is None, "the object is gone", explain=lambda: operated.explain("waiting"))
    assert not [name for name in operated.ray.applications() if "--waiting--" in name]


def test_an_implausible_empty_answer_of_ray_changes_nothing(operated: Operated) -> None:
    operated.apply("calm")
    revision = operated.until_ready("calm")["stableRevision"]
    operated.ray.set_trap(Trap.EMPTY)
    until(lambda: operated.condition("calm", "Ready").get("status") != "True", "the emptiness is noticed")
    assert operated.gateway.entries()["calm"]["stable"] == revision
    operated.ray.set_trap(Trap.NONE)
    operated.until_ready("calm")
    assert operated.ray.running(f"{operated.namespace}--calm--{revision}") == 1


def test_everything_serves_again_after_ray_lost_its_head(operated: Operated) -> None:
    operated.apply("lasting")
    revision = operated.until_ready("lasting")["stableRevision"]
    operated.ray.restart_head()
    application = f"{operated.namespace}--lasting--{revision}"
    until(lambda: operated.ray.running(application) == 1, "it runs again", explain=lambda: operated.explain("lasting"))
    operated.until_ready("lasting")


def test_a_put_with_a_lost_answer_is_confirmed_by_a_read(operated: Operated) -> None:
    operated.ray.fail_next_put_after_it_happened()
    operated.apply("lost")
    operated.until_ready("lost")


def test_a_foreign_application_on_the_cluster_is_left_alone(operated: Operated) -> None:
    # Someone's own declarative application, put beside ours.
    foreign = {"name": "someone", "import_path": "their.app:build", "route_prefix": "/someone"}
    operated.ray.deploy_beside(foreign)
    operated.apply("beside")
    operated.until_ready("beside")
    assert "someone" in operated.ray.applications()


def test_a_route_that_a_person_deletes_or_changes_is_written_again(operated: Operated) -> None:
    operated.apply("drift")
    operated.until_ready("drift")
    written = operated.api.routes()["drift"]

    def is_back() -> bool:
        return operated.api.routes().get("drift") == written

    operated.kubectl("delete", "modelroute", "drift")
    until(is_back, "the deleted route is back", explain=lambda: operated.explain("drift"))
    assert operated.gateway.entries()["drift"] == written, "the gateway kept it all the time"
    change = json.dumps({"spec": {"candidateWeight": 5000, "sticky": {"header": "x-user"}, "stable": None}})
    operated.kubectl("patch", "modelroute", "drift", "--type=merge", "-p", change)
    until(is_back, "the changed route is as it was", explain=lambda: operated.explain("drift"))


def test_a_route_is_owned_retired_confirmed_and_only_then_deleted(operated: Operated) -> None:
    operated.apply("leaving")
    operated.until_ready("leaving")
    owner = (operated.get("leaving") or {})["metadata"]["uid"]
    found = operated.api.get(operated.api.routes_path("leaving")) or {}
    assert found["metadata"]["ownerReferences"][0]["uid"] == owner
    operated.gateway.is_frozen = True
    operated.kubectl("delete", "mdep", "leaving", "--wait=false")
    until(lambda: operated.api.routes()["leaving"].get("retired") is True, "the route is retired")
    assert operated.get("leaving") is not None, "the gateway has not confirmed it"
    operated.gateway.is_frozen = False
    until(lambda: "leaving" not in operated.api.routes(), "the route is deleted")
    until(lambda: operated.get("leaving") is None, "the object is gone")
    assert "leaving" not in operated.gateway.entries()


def test_a_route_that_a_forced_deletion_left_at_the_gateway_is_retired(operated: Operated) -> None:
    operated.apply("forced")
    operated.until_ready("forced")
    operated.gateway.is_frozen = True
    operated.kubectl("delete", "mdep", "forced", "--wait=false")
    operated.kubectl("patch", "mdep", "forced", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    until(lambda: operated.get("forced") is None, "the object is gone")
    operated.gateway.is_frozen = False
    until(lambda: "forced" not in operated.gateway.entries(), "the gateway drops its route", deadline_s=400)
    until(lambda: "forced" not in operated.api.routes(), "nothing of the route is left", deadline_s=400)


def test_the_operator_exposes_health_and_metrics(operated: Operated) -> None:
    operated.apply("measured")
    operated.until_ready("measured")
    assert operated.operator.get("/healthz") == (200, "ok")
    code, text = operated.operator.get("/metrics")
    assert code == 200
    assert (
        f'fairlead_operator_model_condition{{model="measured",namespace="{operated.namespace}",type="Ready"}} 1.0'
        in text
    )
    assert operated.operator.metric("fairlead_operator_reconcile_total") > 0
    assert operated.operator.metric("fairlead_operator_lease_held") == 1
    assert operated.operator.metric("fairlead_operator_watch_events_total") > 0
