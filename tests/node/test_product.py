"""The product's core path on a node: install, predict, canary, scale, uninstall.

The fixture `installed` installs KubeRay and the chart, and fails at its end if they can't be uninstalled.
"""

from __future__ import annotations

import json

import typer.testing
from tests.node import product
from tests.support.until import until

from fairlead_cli.plugin import commands

CANARY = {
    "model": {"version": "v2"},
    "rollout": {"strategy": "Canary", "steps": [{"setWeight": 25}, {"pause": {}}]},
}
RATE = 100.0
OF_THE_CANDIDATE = 100
REQUESTS = 10_000


def change(served: product.Product, **spec: object) -> None:
    served.kubectl("patch", "mdep/doubling", "--type=merge", f"--patch={json.dumps({'spec': spec})}")


def promote(served: product.Product) -> None:
    """`kubectl fairlead promote`."""
    where = ["--namespace", served.namespace, "--kubeconfig", str(served.node.kubeconfig)]
    done = typer.testing.CliRunner().invoke(commands.app, ["promote", "doubling", "--timeout", "300", *where])
    assert done.exit_code == 0, done.output


def test_a_model_is_deployed_rolled_out_scaled_and_deleted(served: product.Product) -> None:
    assert served.predict() == (200, b'{"predictions":[[2.0,4.0],[6.0,8.0]]}')
    before = served.model()["status"]["stableRevision"]
    with served.load(rate_limit=RATE) as client:
        change(served, **CANARY)
        until(lambda: served.model()["status"].get("phase") == "Paused", "a canary at 25 %", deadline_s=300, poll_s=0.5)
        candidate = served.model()["status"]["candidateRevision"]
        client.wait_until(lambda seen: seen.revisions.get(candidate, 0) >= OF_THE_CANDIDATE, timeout_s=120)
        promote(served)
        until(lambda: served.model()["status"]["stableRevision"] == candidate, "it is stable", deadline_s=180)
        change(served, scaling={"replicas": 2})
        until(lambda: served.model()["status"].get("readyReplicas") == 2, "two replicas", deadline_s=180, poll_s=0.5)
        client.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
        report = client.stop()
    assert report.failed == 0, f"{report.summary()}\n{report.failures[:5]}"
    assert set(report.revisions) == {before, candidate}
    served.kubectl("delete", "mdep/doubling", "--timeout=120s")
    served.await_no_pods()
