"""What changes of a stored ModelDeployment mean: status and scale are places of their own, defaults stay in code."""

from __future__ import annotations

import functools
import json
import subprocess
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support import manifest_table

from fairlead_cli.local import cluster

pytestmark = pytest.mark.real

DIGEST = "sha256:" + "a" * 64
URL = "http://models.example/v2/models/digits"
NAMESPACE = "manifest-updates"
# What the API server gives to an object that no operator has read yet (decision 0080).
UNSEEN = {"observedGeneration": 0}
Stored = Callable[..., dict[str, Any]]
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl(kubernetes: cluster.LocalCluster) -> Iterator[Kubectl]:
    """Kubectl in a namespace of this module's own."""
    kubernetes.kubectl("create", "namespace", NAMESPACE)
    yield functools.partial(kubernetes.kubectl, f"--namespace={NAMESPACE}")
    kubernetes.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture
def stored(kubectl: Kubectl, request: pytest.FixtureRequest) -> Stored:
    """Applies the manifest, as changed, under the test's own name; answers what is stored."""
    name = f"u{zlib.crc32(request.node.name.encode())}"

    def store(**change: Any) -> dict[str, Any]:
        manifest = manifest_table.good_manifest({"metadata": {"name": name}, **change})
        done = kubectl("apply", "-f-", "-ojson", input=json.dumps(manifest))
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return store


def _name(stored_object: dict[str, Any]) -> str:
    return f"modeldeployments.fairlead.dev/{stored_object['metadata']['name']}"


def _read(kubectl: Kubectl, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(kubectl("get", name, "-ojson").stdout)
    return answer


def _patch_status(kubectl: Kubectl, name: str, status: dict[str, Any]) -> str:
    patch = json.dumps({"status": status})
    return kubectl("patch", name, "--subresource=status", "--type=merge", f"--patch={patch}").stderr


def test_a_writer_of_the_spec_does_not_change_the_status(kubectl: Kubectl, stored: Stored) -> None:
    before = stored(status={"phase": "Ready"})
    name = _name(before)
    assert before["status"] == UNSEEN
    assert _patch_status(kubectl, name, {"phase": "Starting"}) == ""

    kubectl("patch", name, "--type=merge", '--patch={"status": {"phase": "Ready"}}')

    after = _read(kubectl, name)
    assert after["status"] == {**UNSEEN, "phase": "Starting"}
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_writer_of_the_status_does_not_change_the_spec(kubectl: Kubectl, stored: Stored) -> None:
    before = stored()
    patch = json.dumps({"spec": {"suspend": True}, "status": {"phase": "Ready"}})
    kubectl("patch", _name(before), "--subresource=status", "--type=merge", f"--patch={patch}")

    after = _read(kubectl, _name(before))
    assert after["spec"] == before["spec"]
    assert after["status"] == {**UNSEEN, "phase": "Ready"}
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_a_status_of_the_wrong_shape_is_refused(kubectl: Kubectl, stored: Stored) -> None:
    assert "supported values" in _patch_status(kubectl, _name(stored()), {"phase": "Perhaps"})


def test_the_api_server_adds_only_the_replicas_to_a_spec(stored: Stored) -> None:
    assert stored()["spec"] == {"model": {"uri": "file:///models/digits/1"}, "scaling": {"replicas": 1}}


def test_a_second_apply_of_the_same_manifest_changes_nothing(stored: Stored) -> None:
    first, second = stored(), stored()
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


@pytest.mark.parametrize("scaling", [{}, {"scaling": {}}, {"scaling": {"replicas": 2}}], ids=["absent", "empty", "set"])
def test_kubectl_scale_works_whatever_the_manifest_says(
    kubectl: Kubectl, stored: Stored, scaling: dict[str, Any]
) -> None:
    before = stored(spec=scaling)
    now = before["spec"]["scaling"]["replicas"]
    done = kubectl("scale", _name(before), f"--current-replicas={now}", "--replicas=3")
    assert done.returncode == 0, done.stderr
    assert _read(kubectl, _name(before))["spec"]["scaling"]["replicas"] == 3


def test_kubectl_scale_is_held_to_the_same_bounds(kubectl: Kubectl, stored: Stored) -> None:
    done = kubectl("scale", _name(stored()), "--replicas=1001")
    assert "spec.scaling.replicas" in done.stderr
    assert "less than or equal to 1000" in done.stderr


def test_an_apply_without_replicas_leaves_the_scaled_number(kubectl: Kubectl, stored: Stored) -> None:
    name = _name(stored())
    kubectl("scale", name, "--replicas=3")
    assert stored(spec={"suspend": True})["spec"]["scaling"] == {"replicas": 3}


def test_a_server_side_apply_without_replicas_never_resets_what_kubectl_scale_wrote(
    kubectl: Kubectl, stored: Stored
) -> None:
    name = _name(before := stored())
    bounds = {"minReplicas": 1, "maxReplicas": 5, "target": {"ongoingRequests": 4}}
    manifest = manifest_table.good_manifest(
        {"metadata": {"name": before["metadata"]["name"]}, "spec": {"scaling": bounds}}
    )
    kubectl("scale", name, "--replicas=3")
    for _ in range(2):
        done = kubectl("apply", "--server-side", "--field-manager=git", "-f-", input=json.dumps(manifest))
        assert done.returncode == 0, done.stderr
        assert _read(kubectl, name)["spec"]["scaling"] == {**bounds, "replicas": 3}


def test_the_scale_subresource_shows_replicas_and_selector(kubectl: Kubectl, stored: Stored) -> None:
    before = stored(spec={"scaling": {"replicas": 2}})
    counts = {"desiredReplicas": 2, "replicas": 1, "minReplicas": 2, "maxReplicas": 2, "message": "1 starts"}
    shown = {"replicas": 3, "scaling": counts, "selector": "fairlead.dev/model=digits"}
    assert _patch_status(kubectl, _name(before), shown) == ""
    name = before["metadata"]["name"]
    path = f"/apis/fairlead.dev/v1alpha1/namespaces/{NAMESPACE}/modeldeployments/{name}/scale"
    scale = json.loads(kubectl("get", "--raw", path).stdout)
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "fairlead.dev/model=digits"}


def test_kubectl_get_shows_phase_revision_and_replicas(kubectl: Kubectl, stored: Stored) -> None:
    name = _name(stored())
    condition = {"type": "Ready", "status": "True", "reason": "Serving", "lastTransitionTime": "2026-11-24T10:00:00Z"}
    status = {
        "phase": "RollingOut",
        "stableRevision": "3f0c9a1b2d",
        "candidateRevision": "0123456789",
        "rollout": {"phase": "Shifting", "revision": "0123456789", "weight": 25, "weightBasisPoints": 2500},
        "readyReplicas": 2,
        "model": {"uri": "file:///models/digits/1", "version": "v1", "digest": DIGEST},
        "endpoints": {"v2": URL},
        "conditions": [condition | {"message": "revision 3f0c9a1b2d answers"}],
    }
    assert _patch_status(kubectl, name, status) == ""

    head, line = kubectl("get", name).stdout.splitlines()
    wide_head, wide = kubectl("get", name, "-owide").stdout.splitlines()

    assert head.split() == ["NAME", "READY", "STABLE", "CANDIDATE", "WEIGHT", "PHASE", "REPLICAS", "AGE"]
    assert line.split()[1:7] == ["True", "3f0c9a1b2d", "0123456789", "25", "RollingOut", "2"]
    assert wide_head.split()[8:] == ["VERSION", "DIGEST", "URL", "MESSAGE"]
    assert wide.split()[8:] == ["v1", DIGEST, URL, "revision", "3f0c9a1b2d", "answers"]


def test_the_short_name_and_the_category_find_it(kubectl: Kubectl, stored: Stored) -> None:
    name = _name(stored())
    assert name in kubectl("get", "mdep", "-oname").stdout.replace("modeldeployment.", "modeldeployments.")
    assert name in kubectl("get", "fairlead", "-oname").stdout.replace("modeldeployment.", "modeldeployments.")


SERVING = {"uri": "file:///models/digits/1", "version": "v1", "digest": DIGEST}
CHANGES = [
    pytest.param(
        {"uri": "file:///models/digits/2", "version": "v1"}, True, id="another uri under the version that serves"
    ),
    pytest.param({"uri": "file:///models/digits/2", "version": "v2"}, False, id="another uri and another version"),
    pytest.param({"uri": "file:///models/digits/2", "version": None}, False, id="another uri and no version"),
    pytest.param(
        {"uri": "file:///mirror/1", "version": "v1", "digest": DIGEST}, False, id="another place of the same content"
    ),
    pytest.param({"digest": DIGEST}, False, id="the digest is pinned later"),
    pytest.param({"version": "v1-again"}, False, id="the same content is renamed"),
]


@pytest.mark.parametrize(("change", "is_refused"), CHANGES)
def test_the_content_of_a_served_version_cannot_change(
    kubectl: Kubectl, stored: Stored, change: dict[str, Any], is_refused: bool
) -> None:
    name = _name(stored(spec={"model": {"version": "v1"}}))
    assert _patch_status(kubectl, name, {"model": SERVING}) == ""
    patch = json.dumps({"spec": {"model": change}})
    done = kubectl("patch", name, "--type=merge", f"--patch={patch}")
    if is_refused:
        assert "spec.model.version" in done.stderr
        assert "set a new version" in done.stderr
    assert (done.returncode != 0) == is_refused, done.stderr


def test_a_version_that_never_served_may_be_corrected(kubectl: Kubectl, stored: Stored) -> None:
    name = _name(stored(spec={"model": {"version": "v1"}}))
    _patch_status(kubectl, name, {"model": SERVING})
    stored(spec={"model": {"uri": "file:///models/typo", "version": "v2"}})
    corrected = stored(spec={"model": {"uri": "file:///models/digits/2", "version": "v2"}})
    assert corrected["spec"]["model"]["uri"] == "file:///models/digits/2"


def test_the_status_can_be_written_while_the_spec_is_ahead(kubectl: Kubectl, stored: Stored) -> None:
    """A rule that compares spec and status must never stand in the way of a write of the status."""
    name = _name(stored(spec={"model": {"uri": "file:///models/digits/2", "version": "v1"}}))
    assert _patch_status(kubectl, name, {"model": SERVING}) == ""
    assert _patch_status(kubectl, name, {"phase": "Ready"}) == ""
    finalizer = '--patch={"metadata": {"finalizers": ["fairlead.dev/serving"]}}'
    assert kubectl("patch", name, "--type=merge", finalizer).stderr == ""
    assert kubectl("patch", name, "--type=merge", '--patch={"metadata": {"finalizers": null}}').stderr == ""


def test_the_identity_of_an_object_cannot_be_changed(kubectl: Kubectl, stored: Stored) -> None:
    before = stored()
    other = {"metadata": {"name": before["metadata"]["name"], "uid": "00000000-0000-0000-0000-000000000000"}}
    done = kubectl("replace", "-f-", input=json.dumps(manifest_table.good_manifest(other)))
    assert done.returncode != 0
    assert "UID" in done.stderr


def test_an_unknown_field_is_refused_unless_validation_is_turned_off(kubectl: Kubectl) -> None:
    manifest = json.dumps(manifest_table.good_manifest({"metadata": {"name": "lax"}, "spec": {"replicas": 3}}))
    strict = kubectl("apply", "--dry-run=server", "--validate=strict", "-f-", input=manifest)
    lax = kubectl("apply", "--dry-run=server", "--validate=ignore", "-f-", "-ojson", input=manifest)
    assert 'unknown field "spec.replicas"' in strict.stderr
    assert "replicas" not in {key for key in json.loads(lax.stdout)["spec"] if key != "scaling"}
