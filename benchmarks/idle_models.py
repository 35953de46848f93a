"""How much a thousand idle ModelDeployments cost: ``python -m benchmarks.idle_models [COUNT]``.

Real API server, real operator under its service account; Ray and gateway are the fakes of the tests.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.support.audit import AuditLog
from tests.support.operated import Operated, manifest
from tests.support.until import until

from fairlead_cli.local import cluster

DEADLINE_S = 3600
IDLE_S = 60
POLL_S = 1.0  # each look costs the operator an exposition of all series


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        kubernetes = cluster.LocalCluster("idle-models", Path(folder) / "cluster")
        kubernetes.up(cluster.KUBERNETES_PARTS)
        try:
            with Operated(kubernetes, Path(folder), flags=("--log-level", "info"), is_forked=False) as world:
                measure(world, count)
        finally:
            kubernetes.down()


def measure(world: Operated, count: int) -> None:
    print(f"operator with no models: {world.operator.rss_mib():.0f} MiB", flush=True)
    # Created at once, they wait for each other: the last is promoted long after the usual deadline on two busy cores.
    patient = {"rollout": {"progressDeadlineSeconds": 7200}}
    bodies = [manifest(f"model-{number:04}", f"file:///models/{number}", dict(patient)) for number in range(count)]
    world.folder.joinpath("models.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies}))
    started_s = time.monotonic()
    world.kubectl("create", "-f", str(world.folder / "models.json"))
    print(f"{count} models created in {time.monotonic() - started_s:.0f} s", flush=True)
    until(
        lambda: ready(world) >= count,
        "all are ready",
        deadline_s=DEADLINE_S,
        poll_s=POLL_S,
        explain=world.operator.tail,
    )
    print(f"all ready {time.monotonic() - started_s:.0f} s after the first was created", flush=True)
    report(world, "after the rollouts")
    world.operator.stop()
    started_s = time.monotonic()
    world.operator.start()
    until(lambda: world.operator.metric("fairlead_operator_reconcile_total") > 0, "a first pass", poll_s=0.2)
    print(f"restart: first pass {time.monotonic() - started_s:.1f} s after the start of the process", flush=True)
    until(lambda: is_settled(world, count), "all had a pass", deadline_s=DEADLINE_S, poll_s=POLL_S)
    print(f"restart: every model had its pass after {time.monotonic() - started_s:.1f} s", flush=True)
    log = AuditLog(world.kubernetes.audit_log)
    log.mark()
    cpu_s = world.operator.cpu_s()
    time.sleep(IDLE_S)
    used = (world.operator.cpu_s() - cpu_s) / IDLE_S
    print(f"idle for {IDLE_S} s: {len(log.writes())} writes but the Lease, {used:.1%} of a core", flush=True)
    report(world, "idle after the restart")


def ready(world: Operated) -> int:
    """How many models the operator's own metrics call ready."""
    text = world.operator.get("/metrics")[1].splitlines()
    return sum(line.startswith("fairlead_operator_model_condition{") and 'type="Ready"} 1.0' in line for line in text)


def is_settled(world: Operated, count: int) -> bool:
    return ready(world) >= count and world.operator.metric("fairlead_operator_queue_depth") == 0


def report(world: Operated, when: str) -> None:
    load = os.getloadavg()[0]
    requests = world.operator.metric("fairlead_operator_kubernetes_requests_total")
    print(
        f"{when}: {world.operator.rss_mib():.0f} MiB, {requests:.0f} Kubernetes requests so far, load {load:.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
