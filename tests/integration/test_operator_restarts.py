"""The operator, its API server and its neighbours come and go: everything ends as it should, and idle means silence."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest
from tests.support.audit import AuditLog
from tests.support.fake_ray import Trap
from tests.support.operated import Operated
from tests.support.operator_process import OperatorProcess
from tests.support.until import until

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

IDLE_S = 30
LEASE = ("-n", "fairlead-system", "get", "lease", "fairlead-operator", "-o", "jsonpath={.spec.holderIdentity}")


@pytest.fixture(scope="module")
def operated(kubernetes: cluster.LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    flags = ("--resync-seconds", "5", "--sweep-seconds", "1")
    with Operated(kubernetes, tmp_path_factory.mktemp("operated"), flags=flags) as world:
        yield world


@pytest.fixture(autouse=True)
def running_operator(operated: Operated) -> None:
    """No test is the victim of what ended the operator in the one before."""
    operated.require_operator()


def test_an_idle_operator_writes_nothing_but_its_lease(operated: Operated) -> None:
    for name in ("idle-one", "idle-two"):
        operated.apply(name)
    for name in ("idle-one", "idle-two"):
        operated.until_ready(name)
    log = AuditLog(operated.kubernetes.audit_log)
    passes = operated.operator.metric("fairlead_operator_reconcile_total")
    until(lambda: _is_silent(log, for_s=2), "what was begun is finished")
    log.mark()
    time.sleep(IDLE_S)  # the span itself is what is judged
    assert log.writes() == []
    assert log.writes(but=frozenset()), "the log shows the Lease, so it would have shown others"
    assert operated.operator.metric("fairlead_operator_reconcile_total") > passes, "resyncs went on"


def _is_silent(log: AuditLog, *, for_s: float) -> bool:
    log.mark()
    time.sleep(for_s)
    return log.writes() == []


def test_a_killed_operator_finishes_the_rollout_after_its_restart(operated: Operated) -> None:
    operated.apply("killed", uri="file:///models/one")
    old = operated.until_ready("killed")["stableRevision"]
    operated.ray.set_start_s(1.0)
    operated.apply("killed", uri="file:///models/two")
    until(lambda: operated.status("killed").get("candidateRevision"), "the rollout is under way")
    operated.kill_operator()
    assert operated.gateway.entries()["killed"]["stable"] == old, "the crash itself moved no traffic"
    operated.operator.start()
    operated.ray.set_start_s(0.05)
    new = operated.until_ready("killed")["stableRevision"]
    assert new != old
    assert len(operated.revisions("killed")) == 2


def test_the_spec_that_came_while_the_operator_was_down_wins(operated: Operated) -> None:
    operated.apply("late", uri="file:///models/one")
    operated.until_ready("late")
    operated.apply("late", uri="file:///models/two")
    operated.kill_operator()
    operated.apply("late", uri="file:///models/three")
    operated.operator.start()
    stable = operated.until_ready("late")["stableRevision"]
    body = next(r for r in operated.revisions("late") if r["metadata"]["labels"]["fairlead.dev/revision"] == stable)
    assert body["data"]["template"]["model"]["uri"] == "file:///models/three"
    until(
        lambda: (
            [name for name in operated.ray.applications() if "--late--" in name]
            == [f"{operated.namespace}--late--{stable}"]
        ),
        "only the last one runs",
    )


def test_sigterm_releases_the_lease_and_exits_0(operated: Operated) -> None:
    assert operated.operator.stop() == 0
    assert operated.kubectl(*LEASE, scoped=False) == ""
    operated.operator.start()


def test_sigterm_is_obeyed_even_while_ray_hangs(operated: Operated) -> None:
    operated.ray.set_trap(Trap.HANG)
    operated.apply("hanging")
    until(lambda: operated.get("hanging"), "the object is there")
    assert operated.operator.stop() == 0, "and in time: the wait for the exit is bounded"
    operated.ray.set_trap(Trap.NONE)
    operated.operator.start()
    operated.until_ready("hanging")


def test_a_standby_takes_over_from_a_killed_leader(operated: Operated) -> None:
    standby = OperatorProcess(operated.flags, log=operated.folder / "standby.log")
    standby.start(ready=False)
    until(lambda: standby.get("/readyz") == (200, "standby"), "the second process stands by")
    assert standby.get("/healthz") == (200, "ok")
    assert standby.metric("fairlead_operator_lease_held") == 0
    operated.operator.kill()
    until(lambda: standby.get("/readyz") == (200, "leader"), "the standby leads", deadline_s=400)
    operated.apply("taken")
    operated.until_ready("taken")
    assert standby.stop() == 0
    operated.operator.start()


def test_a_leader_suspended_past_its_lease_exits_without_a_write(operated: Operated) -> None:
    operated.operator.signal(signal.SIGSTOP)
    standby = OperatorProcess(operated.flags, log=operated.folder / "second.log")
    standby.start(ready=False)
    until(lambda: standby.get("/readyz") == (200, "leader"), "the standby leads", deadline_s=400)
    operated.operator.signal(signal.SIGCONT)
    assert operated.operator.wait() == 1
    assert standby.stop() == 0
    operated.operator.start()


def test_a_model_deleted_while_the_api_server_restarted_is_cleaned_up(operated: Operated) -> None:
    operated.apply("missed")
    operated.until_ready("missed")
    with operated.operator.kept_running():
        operated.kubernetes.restart("kube-apiserver")
        # Gone by force before the watch is back, so no event reports it. Deleted first: a finalizer that is
        # taken from a living object may be put back before the delete comes.
        operated.kubectl("delete", "mdep", "missed", "--wait=false")
        forced = ("patch", "mdep", "missed", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
        done = operated.kubernetes.kubectl("-n", operated.namespace, *forced)
        assert done.returncode == 0 or "NotFound" in done.stderr, done.stderr
        until(lambda: operated.get("missed") is None, "the object is gone")
        until(
            lambda: (
                "missed" not in operated.gateway.entries()
                and not [name for name in operated.ray.applications() if "--missed--" in name]
            ),
            "its route and its application are gone",
            explain=operated.operator.tail,
        )


def test_an_outage_of_the_api_server_tears_nothing_down(operated: Operated) -> None:
    operated.apply("steady")
    revision = operated.until_ready("steady")["stableRevision"]
    puts = len(operated.ray.puts)
    operated.kubernetes.stop("kube-apiserver", signal.SIGKILL)
    # Longer than the renewals may fail: the leader gives up and exits, as another could have taken over.
    assert operated.operator.wait() == 1
    with operated.operator.kept_running():
        assert operated.ray.running(f"{operated.namespace}--steady--{revision}") == 1
        operated.kubernetes.start("kube-apiserver")
        until(lambda: operated.operator.get("/readyz") == (200, "leader"), "it leads again")
        operated.until_ready("steady")
    assert len(operated.ray.puts) == puts


def test_one_failing_object_does_not_delay_the_others(operated: Operated) -> None:
    operated.apply("poisoned")
    operated.until_ready("poisoned")
    (kept,) = operated.revisions("poisoned")
    # A ControllerRevision that claims to be the model's and is not in our form.
    forged = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": "poisoned-forged",
            "labels": {"fairlead.dev/model": "poisoned", "fairlead.dev/revision": "ffffffffff"},
            "ownerReferences": kept["metadata"]["ownerReferences"],
        },
        "data": {"nonsense": True},
        "revision": 9,
    }
    operated.create(forged)
    operated.apply("healthy")
    operated.until_ready("healthy")
    operated.kubectl("delete", "controllerrevision", "poisoned-forged")
    operated.until_ready("poisoned")


def test_many_changes_at_once_end_with_the_last_one(operated: Operated) -> None:
    def change(number: int) -> None:
        operated.apply(f"crowd-{number}", uri="file:///models/one")
        operated.apply(f"crowd-{number}", uri="file:///models/two")

    threads = [threading.Thread(target=change, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        stable = operated.until_ready(f"crowd-{number}")["stableRevision"]
        kept = {r["metadata"]["labels"]["fairlead.dev/revision"]: r for r in operated.revisions(f"crowd-{number}")}
        assert kept[stable]["data"]["template"]["model"]["uri"] == "file:///models/two"
