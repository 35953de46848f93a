"""Two replicas, one of them killed again and again, first with and then without anybody above them."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.e2e.counted import counted
from tests.e2e.measured import RESULTS
from tests.e2e.our_processes import kill_for_good, start_operator
from tests.e2e.ray_view import RAY_POLL_S
from tests.e2e.stage import Model, Stage
from tests.support import request_counts
from tests.support.until import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
KILLS = 10 if request_counts.are_whole() else 5
AWAY_S = 120.0 if request_counts.are_whole() else 25.0
"""At the least, and as long as the kills take."""
RATE = request_counts.rate(200.0)
REQUESTS = request_counts.at_least(30_000, daily=2_000)
# A request that was in the killed replica's hands fails within this time of the kill.
OF_A_KILL_S = 15.0


def test_killed_replicas_without_operator_and_api_server(stage: Stage) -> None:
    """At most one failed request a kill, none besides; replicas come back while nobody above Ray lives."""
    with stage.deployed("killed", replicas=2) as model:
        model.until_up(2)
        with counted(model, rate=RATE) as run:
            run.wait_until(lambda seen: seen.requests > 2 * RATE, timeout_s=400)
            away_since_s = time.monotonic()
            for part in ("operator", "kube-apiserver", "etcd"):
                kill_for_good(stage.local, part)
            killed_at_s = [_kill_one(stage, model, run.progress().elapsed_s) for _ in range(KILLS)]
            until(lambda: time.monotonic() - away_since_s >= AWAY_S, "away long enough", deadline_s=AWAY_S + 10)
            away_s = time.monotonic() - away_since_s
            for part in ("etcd", "kube-apiserver"):
                stage.local.start(part)
            start_operator(stage.local)
            model.until_settled()
            run.wait_until(lambda seen: seen.requests >= REQUESTS, timeout_s=300)
            report = run.stop()
    RESULTS.add(
        "Two replicas, one killed by SIGKILL, with operator, API server and etcd away",
        {"kills": KILLS, "away s": away_s, "requests": report.requests, "failed": report.failed},
    )
    unexplained = [
        f for f in report.failures if not any(0 <= f.at_s + f.took_s - at < OF_A_KILL_S for at in killed_at_s)
    ]
    assert unexplained == [], report.summary()
    assert report.failed <= KILLS, report.summary()


def _kill_one(stage: Stage, model: Model, at_s: float) -> float:
    """End one replica and wait until another took its place."""
    victim = stage.ray.replica_pids(model.name)[0]
    os.kill(victim, signal.SIGKILL)
    until(
        lambda: (pids := stage.ray.replica_pids(model.name)) and victim not in pids and len(pids) == 2,
        "Ray started another replica",
        deadline_s=400,
        poll_s=RAY_POLL_S,
    )
    model.until_up(2)
    return at_s
