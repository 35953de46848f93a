"""How a gateway follows replicas that come and go on two nodes: requests that failed, and how soon a new one is met.

``python -m benchmarks.discovery [REQUESTS]``: each story is repeated until so many requests were answered.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.support import moving_replicas


def main(requests: int = 30_000) -> None:
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, two nodes, 12 connections")
    for name, story in moving_replicas.STORIES.items():
        with tempfile.TemporaryDirectory() as root, moving_replicas.moving_replicas(Path(root)) as world:
            began, turns = time.monotonic(), 0
            with world.load() as load:
                while load.progress().requests < requests:
                    story(world)
                    turns += 1
                report = load.stop()
            took = time.monotonic() - began
            delays = sorted(world.delays_s)
            print(f"{name}: {report.failed} of {report.requests} failed, {turns} times in {took:.0f} s", flush=True)
            if delays:
                middle, worst = statistics.median(delays) * 1000, delays[-1] * 1000
                print(f"  a new one is up after {middle:.0f} ms (median), {worst:.0f} ms (worst of {len(delays)})")
            for line in report.summary().splitlines()[1:6] if report.failed else ():
                print(f"  {line}")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
