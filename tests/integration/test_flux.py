"""Flux's own controllers follow a git repository, against a real API server and the real operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from tests.support import flux as flux_programs
from tests.support.flux import Flux
from tests.support.git_server import GitServer
from tests.support.operated import Operated
from tests.support.until import until

from fairlead_cli.local import cluster
from fairlead_cli.plugin import commands

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]
NAME = "digits"
RECONCILES = 10
PAUSE_STEP = 1
MANIFEST = """\
apiVersion: fairlead.dev/v1alpha1
kind: ModelDeployment
metadata:
  name: {name}
spec:
  model:
    uri: file:///models/{version}
  rollout:
    strategy: Canary
    rollbackWindow: {{seconds: 3600}}
    steps:
    - setWeight: 25
    - pause: {{}}
"""


def _files(version: str | None, *, name: str = NAME) -> dict[str, str | None]:
    """The file of a model with this version, or its removal."""
    return {f"models/{name}.yaml": version and MANIFEST.format(name=name, version=version)}


class Delivery:
    """A repository whose commits Flux brings to a namespace that the operator serves."""

    def __init__(self, operated: Operated, flux: Flux, repository: GitServer) -> None:
        self.first_commit = repository.commit(_files("one"))
        flux.follow(repository.url)
        self.operated = operated
        self.flux = flux
        self.repository = repository

    def push(self, version: str | None, *, name: str = NAME) -> str:
        """Commit a version of a model, or its removal; Flux has the commit when this returns."""
        commit = self.repository.commit(_files(version, name=name))
        self.flux.fetch()
        return commit

    def revert(self) -> str:
        commit = self.repository.revert()
        self.flux.fetch()
        return commit

    def until_ready(self, commit: str) -> str:
        """The stable revision of the model, once the Kustomization is ready with the commit."""
        self.flux.until_ready(commit)
        return str(self.status()["stableRevision"])

    def until_canary_waits(self) -> None:
        """Wait until the canary has its share and waits for a person."""
        until(
            lambda: self.rollout().get("phase") == "Shifting" and self.rollout()["step"] == PAUSE_STEP,
            "the canary has its share and waits",
            explain=lambda: self.operated.explain(NAME),
        )

    def fairlead(self, verb: str) -> None:
        place = ["-n", self.operated.namespace, "--kubeconfig", str(self.operated.kubernetes.kubeconfig)]
        result = typer.testing.CliRunner().invoke(commands.app, [verb, NAME, *place, "--timeout", "300"])
        assert result.exit_code == 0, result.output

    def status(self) -> dict[str, Any]:
        return self.operated.status(NAME)

    def rollout(self) -> dict[str, Any]:
        """``status.rollout``; empty without one."""
        return self.status().get("rollout") or {}

    def wait(self, condition: str) -> None:
        self.operated.kubectl("wait", f"mdep/{NAME}", f"--for=condition={condition}", "--timeout=400s")

    def model(self) -> dict[str, Any]:
        found = self.operated.get(NAME)
        assert found is not None
        return found

    def numbers(self) -> list[int]:
        """The number of each kept revision of the model."""
        return [item["revision"] for item in self.operated.revisions(NAME)]

    def actions_since(self, reconciles: int) -> set[str]:
        """What Flux did with the model in each of the later reconciles, by the number of those before."""
        applied = self.flux.applied()[reconciles:]
        assert len(applied) >= RECONCILES
        return {each[f"ModelDeployment/{self.operated.namespace}/{NAME}"] for each in applied}

    def starts_of(self, version: str) -> list[str]:
        """The Serve applications with this version of the model, in all that Ray was ever asked to run."""
        applications = (each for put in self.operated.ray.puts for each in put["applications"])
        uri = f"file:///models/{version}"
        return [each["name"] for each in applications if each["args"]["config"]["source"]["uri"] == uri]


@pytest.fixture
def delivery(kubernetes: cluster.LocalCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Delivery]:
    """The parameter, where there is one, are feature gates of kustomize-controller."""
    with (
        GitServer(tmp_path / "git") as repository,
        Operated(kubernetes, tmp_path) as operated,
        Flux(kubernetes, operated.namespace, tmp_path / "flux", gates=getattr(request, "param", "")) as flux,
    ):
        yield Delivery(operated, flux, repository)


@pytest.mark.nightly
def test_a_canary_is_ready_in_flux_at_its_promotion_and_a_revert_adopts_the_earlier_revision(
    delivery: Delivery,
) -> None:
    flux = delivery.flux
    first = delivery.until_ready(delivery.first_commit)
    second_commit = delivery.push("two")
    delivery.until_canary_waits()
    until(lambda: flux.condition("Healthy").get("status") == "Unknown", "Flux checks the health", explain=flux.explain)
    assert flux.condition("Ready")["status"] == "Unknown"
    assert "Running health checks" in flux.condition("Reconciling")["message"]
    assert (flux.attempted(), flux.healthy()) == (second_commit, delivery.first_commit)
    assert delivery.status()["stableRevision"] == first

    delivery.fairlead("promote")
    second = delivery.until_ready(second_commit)
    assert second != first
    assert delivery.rollout()["phase"] == "Watching", "the rollback window is open, and Flux does not wait for its end"

    third_commit = delivery.revert()
    assert delivery.until_ready(third_commit) == first
    assert delivery.numbers() == [1, 2]
    assert delivery.operated.gateway.entries()[NAME]["stable"] == first
    assert len(set(delivery.starts_of("one"))) == 1


@pytest.mark.nightly
def test_a_bad_commit_is_reported_by_flux_and_not_tried_again_by_ten_reconciles(delivery: Delivery) -> None:
    flux = delivery.flux
    stable = delivery.until_ready(delivery.first_commit)
    bad_commit = delivery.push("broken")
    delivery.wait("Stalled")
    delivery.wait("Ready=False")
    until(
        lambda: flux.condition("Healthy").get("status") == "False", "Flux's health check failed", explain=flux.explain
    )
    failed = flux.condition("Ready")
    assert (failed["status"], failed["reason"]) == ("False", "HealthCheckFailed")
    assert f"ModelDeployment/{delivery.operated.namespace}/{NAME} status: 'Failed'" in failed["message"]
    assert (flux.attempted(), flux.healthy()) == (bad_commit, delivery.first_commit)
    until(lambda: not delivery.rollout(), "the candidate is gone", explain=lambda: delivery.operated.explain(NAME))
    quarantine, starts, reconciles = delivery.status()["quarantine"], delivery.starts_of("broken"), len(flux.applied())
    (entry,) = quarantine
    assert "ModelCorrupt" in entry["message"]

    for _ in range(RECONCILES):
        flux.reconcile()
        assert flux.condition("Ready")["reason"] == "HealthCheckFailed"
    assert delivery.actions_since(reconciles) == {"unchanged"}
    assert delivery.status()["stableRevision"] == stable
    assert delivery.status()["quarantine"] == quarantine
    assert delivery.starts_of("broken") == starts, "the bad revision was started again"

    fixed_commit = delivery.revert()
    assert delivery.until_ready(fixed_commit) == stable
    delivery.wait("Stalled=False")
    assert delivery.numbers() == [1, 2]


@pytest.mark.nightly
def test_ten_reconciles_write_nothing_and_leave_the_number_of_replicas_to_its_manager(delivery: Delivery) -> None:
    flux = delivery.flux
    delivery.until_ready(delivery.first_commit)
    delivery.operated.kubectl("scale", f"mdep/{NAME}", "--replicas=2")
    until(lambda: delivery.status().get("readyReplicas") == 2, "two replicas serve")
    delivery.operated.until_ready(NAME)
    before, reconciles = delivery.model(), len(flux.applied())
    for _ in range(RECONCILES):
        flux.reconcile()
        assert flux.condition("Ready")["status"] == "True"
    after = delivery.model()
    assert delivery.actions_since(reconciles) == {"unchanged"}
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert after["spec"]["scaling"] == {"replicas": 2}

    owners = [
        (entry["manager"], field)
        for entry in after["metadata"]["managedFields"]
        for field in flux_programs.owned_fields(entry)
    ]
    owned_by_flux = {field for manager, field in owners if manager == flux_programs.KUSTOMIZE}
    assert ("f:spec", "f:model", "f:uri") in owned_by_flux
    assert ("f:spec", "f:scaling", "f:replicas") not in owned_by_flux
    assert not {field for manager, field in owners if manager != flux_programs.KUSTOMIZE} & owned_by_flux

    second_commit = delivery.push("two")
    delivery.until_canary_waits()
    delivery.fairlead("promote")
    delivery.until_ready(second_commit)
    assert delivery.model()["spec"]["scaling"] == {"replicas": 2}

    delivery.operated.kubectl("patch", f"mdep/{NAME}", "--type=merge", '--patch={"spec": {"scaling": {"replicas": 3}}}')
    flux.reconcile()
    assert delivery.model()["spec"]["scaling"] == {"replicas": 1}, "Flux removed what kubectl wrote into the object"


@pytest.mark.nightly
def test_a_removed_file_removes_the_model_and_all_that_it_owned(delivery: Delivery) -> None:
    operated, other = delivery.operated, "other"
    delivery.until_ready(delivery.first_commit)
    delivery.until_ready(delivery.push("one", name=other))
    commit = delivery.push(None)
    until(lambda: operated.get(NAME) is None, "the object is gone", explain=lambda: operated.explain(NAME))
    delivery.flux.until_ready(commit)
    assert set(operated.gateway.entries()) == set(operated.api.routes()) == {other}
    assert not [name for name in operated.ray.applications() if f"--{NAME}--" in name]
    until(lambda: not operated.revisions(NAME), "the garbage collector removed the history")
    (entry,) = delivery.flux.kustomization()["status"]["inventory"]["entries"]
    assert entry["id"].startswith(f"{operated.namespace}_{other}_")
    assert operated.is_ready(other)


@pytest.mark.nightly
@pytest.mark.parametrize("delivery", ["CancelHealthCheckOnNewRevision=true"], indirect=True)
def test_a_revert_during_a_canary_withdraws_it_at_once_where_a_new_commit_ends_the_wait(delivery: Delivery) -> None:
    first = delivery.until_ready(delivery.first_commit)
    delivery.push("two")
    delivery.until_canary_waits()
    assert delivery.until_ready(delivery.revert()) == first
    assert not delivery.rollout()
    assert delivery.operated.gateway.entries()[NAME]["stable"] == first


@pytest.mark.nightly
def test_a_revert_during_a_canary_waits_until_an_abort_ends_the_health_check(delivery: Delivery) -> None:
    flux = delivery.flux
    first = delivery.until_ready(delivery.first_commit)
    second_commit = delivery.push("two")
    delivery.until_canary_waits()
    third_commit = delivery.revert()
    assert flux.attempted() == second_commit
    assert delivery.rollout()["phase"] == "Shifting"
    delivery.fairlead("abort")
    assert delivery.until_ready(third_commit) == first
    assert delivery.numbers() == [1, 2]
