"""A model in two stages beside the same model in one replica: time of a request, requests a second, memory.

    python -m benchmarks.stages [--mebibytes 256] [--seconds 6] [--rounds 5]

Real Ray on this machine, without operator and gateway. Both run all the time, and rounds alternate between them, with
one connection and with eight. Memory is the proportional set size of each process, after the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.explanations import make_body, require_success
from tests.support import leftovers
from tests.support.replica_parts import wait_until
from tests.support.served_on_ray import START_S, Ray, application

from fairlead_cli import load
from fairlead_cli.local import cluster, options

MODEL = "large"
MAKER = Path(__file__).resolve().parents[1] / "tests" / "support" / "make_cuttable_models.py"
STAGES = 2


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        subprocess.run([sys.executable, str(MAKER), folder, str(chosen.mebibytes)], check=True)
        started = cluster.LocalCluster("stages", models / "cluster", chosen=options.Options())
        with leftovers.owned(started):
            started.up(("ray",))
            ray = Ray(started, started.ray_address, started.ray_token_file.read_text().strip(), models)
            measure(ray, chosen.seconds, chosen.rounds)
    return 0


def measure(ray: Ray, seconds: float, rounds: int) -> None:
    apps = {"one replica": deployed(ray, stages=1), f"{STAGES} stages": deployed(ray, stages=STAGES)}
    ray.put(*apps.values())
    for app in apps.values():
        wait_until(lambda app=app: ray.status(app["name"])[0] == "RUNNING", within_s=START_S)
    body = make_body(ray.models / MODEL, None)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for connections in (1, 8):
        compare(ray, apps, (body, connections, seconds), rounds)
    for name, app in apps.items():
        for deployment, pid in processes(ray, app).items():
            print(f"{name}, {deployment}: {resident(pid)}")
    print(f"load average {os.getloadavg()[0]:.1f}")


def deployed(ray: Ray, *, stages: int) -> dict[str, Any]:
    """As the operator composes it, with one processor for each stage."""
    app = application(ray, MODEL)
    config = app["args"]["config"]
    config["revision"] = f"{stages:010x}"
    app["name"] = f"default--{MODEL}--{config['revision']}"
    (first,) = app["deployments"]
    first["ray_actor_options"] = {"num_cpus": 0.5, "memory": 100_000_000}
    if stages > 1:
        config["parallelism"] = {"stages": stages}
    names = ["replica", *(f"stage-{number}" for number in range(2, stages + 1))]
    app["deployments"] = [{**first, "name": name} for name in names]
    return app


def compare(ray: Ray, apps: Mapping[str, Any], asked: tuple[bytes, int, float], rounds: int) -> None:
    body, connections, seconds = asked
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in apps}
    for number in range(rounds + 1):
        for name, app in list(apps.items())[:: 1 if number % 2 else -1]:
            replica = ray.one(app)
            url = f"http://{replica['host']}:{replica['port']}"
            settings = load.Settings(url=url, model=MODEL, bodies=(body,), connections=connections, duration_s=seconds)
            with load.background(settings) as asking:
                report = asking.wait(timeout_s=600)
            require_success(report)
            assert report.latency is not None
            if number:
                found[name].append((report.latency.p50_ms, report.requests / seconds))
    for name, each in found.items():
        p50, rate = (statistics.median(values) for values in zip(*each, strict=True))
        print(f"{name}, {connections} connections: p50 {p50:.2f} ms, {rate:.0f} requests/s")
    one, staged = found.values()
    for place, what in ((0, "p50"), (1, "requests/s")):
        ratios = [b[place] / a[place] for a, b in zip(one, staged, strict=True)]
        least, most = min(ratios), max(ratios)
        print(f"  {what} of stages / of one replica: {statistics.median(ratios):.2f} ({least:.2f} to {most:.2f})")


def processes(ray: Ray, app: Mapping[str, Any]) -> Mapping[str, int]:
    deployments = json.loads(json.dumps(ray.call("GET")["applications"]))[app["name"]]["deployments"]
    return {name: int(each["replicas"][0]["pid"]) for name, each in sorted(deployments.items())}


def resident(pid: int) -> str:
    """Source: Linux, filesystems/proc.rst, smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return f"{sizes['Pss']:.0f} MiB, {sizes['Pss_Anon']:.0f} MiB of them not of files"


if __name__ == "__main__":
    sys.exit(main())
