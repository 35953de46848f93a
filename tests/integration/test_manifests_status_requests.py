"""Who may drive rollouts writes `status.request` and nothing else of the status, as the real API server answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support import kube_api, manifest_table
from tests.support.until import until

from fairlead_cli.local import cluster, programs

pytestmark = pytest.mark.real
NAMESPACE = "default"
NAME = "asked-of"
DRIVER = "who-drives-rollouts"
REQUEST = {"id": "1", "verb": "Pause", "revision": "0123456789", "time": "2026-01-01T00:00:00Z"}


def patched(kubernetes: cluster.LocalCluster, status: Any, *flags: str) -> subprocess.CompletedProcess[str]:
    body = json.dumps({"status": status})
    target = ("patch", "mdep", NAME, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", body)
    return kubernetes.kubectl(*target, *flags)


@pytest.fixture
def model(kubernetes: cluster.LocalCluster) -> Iterator[None]:
    """An object with a status, and a person with the role that drives rollouts."""
    bind = ("create", "rolebinding", DRIVER, "--clusterrole=fairlead-rollouts", f"--user={DRIVER}", "-n", NAMESPACE)
    kubernetes.kubectl(*bind)
    made = manifest_table.good_manifest({"metadata": {"name": NAME}})
    assert kubernetes.kubectl("apply", "-n", NAMESPACE, "-f-", input=json.dumps(made)).returncode == 0
    assert patched(kubernetes, {"stableRevision": "0123456789", "replicas": 2}).returncode == 0
    until(
        lambda: patched(kubernetes, {"replicas": 3}, f"--as={DRIVER}").returncode != 0,
        "the policy is in force",
        deadline_s=400,
    )
    yield
    kubernetes.kubectl("delete", "mdep", NAME, "-n", NAMESPACE)
    kubernetes.kubectl("delete", "rolebinding", DRIVER, "-n", NAMESPACE)


@pytest.mark.parametrize(
    ("status", "field"),
    [
        pytest.param({"stableRevision": "aaaaaaaaaa"}, "stableRevision", id="another stable revision"),
        pytest.param({"request": REQUEST, "phase": "Ready"}, "phase", id="a field that was not there"),
        pytest.param(
            {"handledRequest": {**REQUEST, "outcome": "Done"}}, "handledRequest", id="the operator's own answer"
        ),
        pytest.param({"stableRevision": None}, "status.request", id="a field taken away"),
    ],
)
def test_a_patch_of_other_status_fields_is_refused_with_what_is_allowed(
    kubernetes: cluster.LocalCluster, model: None, status: Any, field: str
) -> None:
    done = patched(kubernetes, status, f"--as={DRIVER}")
    assert done.returncode != 0
    assert "the operator alone writes the status, except for status.request" in done.stderr
    assert field in done.stderr


def test_a_request_is_written_changed_and_removed(kubernetes: cluster.LocalCluster, model: None) -> None:
    for request in (REQUEST, {**REQUEST, "id": "2", "verb": "Resume"}, None):
        done = patched(kubernetes, {"request": request}, f"--as={DRIVER}")
        assert done.returncode == 0, done.stderr


def test_the_operator_may_write_its_memory(kubernetes: cluster.LocalCluster, model: None) -> None:
    # kubectl would read the status first, which the operator has no right to.
    config = kubernetes.service_account_kubeconfig(*programs.OPERATOR_ACCOUNT)
    token = json.loads(config.read_text())["users"][0]["user"]["token"]
    headers = {"authorization": f"Bearer {token}", "content-type": "application/merge-patch+json"}
    url = f"{kube_api.server(config)}{kube_api.MODELS.format(namespace=NAMESPACE)}/{NAME}/status"
    done = httpx.patch(
        url,
        json={"status": {"stableRevision": "aaaaaaaaaa"}},
        headers=headers,
        verify=kube_api.trust(config),
        timeout=60,
    )
    assert done.status_code == httpx.codes.OK, done.text
