"""``make faults``: every story calm, then again with one fault at every write; exit 1 where any end differs.

The order is drawn, so a campaign that is ended early has tried a fair sample.

Interrupted, it goes on where it was, unless the code is another (``--fresh`` begins anew); what it found is in
``build/faults``.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import hashlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults import choice, folder, report, run, stage
from tests.faults.choice import Trial
from tests.faults.scenarios import SCENARIOS, Scenario

from fairlead_cli.local import cluster

BENCH_TRIES = 5
OUT = Path("build/faults")
GOGC = "400"
"""Of the API server and etcd, in percent: memory is there, and they collect garbage a quarter as often."""


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with folder.held(OUT, code=_code(), is_fresh=options.fresh):
            return _with_a_cluster(options)
    except folder.TakenError as error:
        sys.exit(f"faults: {error}")


def _with_a_cluster(options: argparse.Namespace) -> int:
    os.environ.setdefault("GOGC", GOGC)
    kubernetes = cluster.LocalCluster("faults", (OUT / folder.CLUSTER).resolve())
    try:
        kubernetes.up(cluster.KUBERNETES_PARTS)
        with stage.opened(kubernetes, OUT / "logs") as make_bench:
            return _campaign(make_bench, options)
    finally:
        kubernetes.down()


def _code() -> str:
    """Names what is tried: results of other code say nothing."""
    digest = hashlib.sha256()
    for part in ("operator", "tests/faults", "tests/support"):
        for path in sorted(Path(part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="all by default")
    parser.add_argument("--group", action="append", choices=list(choice.GROUPS), help="of faults; all by default")
    parser.add_argument("--every", type=int, default=1, help="try one point of so many; kills at all")
    parser.add_argument("--seed", type=int, default=1, help="decides which")
    parser.add_argument("--jobs", type=int, default=16, help="runs at the same time; most of each is waiting")
    parser.add_argument("--at", help="only points whose name contains this, such as 'route 2'")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier run has found")
    return parser.parse_args()


def _campaign(make_bench: run.MakeBench, options: argparse.Namespace) -> int:
    names = options.scenario or list(SCENARIOS)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        calm = dict(zip(names, pool.map(lambda name: run.run(make_bench, SCENARIOS[name]), names), strict=True))
        twice = pool.map(lambda name: run.run(make_bench, SCENARIOS[name], start=calm[name].start), names)
        for name, again in zip(names, twice, strict=True):
            differences = [*calm[name].broken, *run.judge(calm[name], again)]
            print(f"{name}: {len(calm[name].points)} writes when calm, {calm[name].seconds:.1f} s", flush=True)
            for line in differences:
                print(f"  two calm runs differ: {line}", flush=True)
        results = _known(names, options)
        done = {result.trial for result in results}
        todo = [trial for trial in _chosen(calm, options) if trial not in done]
        print(f"{len(todo)} runs to do, {len(results)} done before", flush=True)
        futures = [pool.submit(_try, make_bench, calm, trial) for trial in todo]
        number = 0
        try:
            for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
                results.append(future.result())
                _tell(results[-1], f"{number}/{len(todo)}")
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            _write_table(results, len(todo) - number)
    return 1 if any(result.differences for result in results) else 0


def _write_table(results: Sequence[report.Result], left: int) -> None:
    """Also of a campaign that is ended early: what it has found stands, and how much it has not tried."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    head = f"{len(results)} runs on commit {commit.stdout.strip()}" + (f", {left} more not tried" if left else "")
    text = f"{head}:\n\n{report.table(results)}\n"
    (OUT / "table.md").write_text(text)
    print(text)


def _tell(result: report.Result, place: str) -> None:
    with (OUT / "results.jsonl").open("a") as log:
        print(result.to_json(), file=log)
    print(f"{place} {result.trial}: {result.verdict} ({result.seconds:.1f} s)", flush=True)
    for line in result.differences:
        print(f"    {line[:2000]}", flush=True)


def _known(names: list[str], options: argparse.Namespace) -> list[report.Result]:
    if options.at:
        return []
    return [result for result in report.load(OUT / "results.jsonl") if result.trial.scenario in names]


def _chosen(calm: Mapping[str, run.Outcome], options: argparse.Namespace) -> list[Trial]:
    chosen: list[Trial] = []
    for group in options.group or list(choice.GROUPS):
        for name, outcome in calm.items():
            found = choice.trials(name, outcome.points, choice.GROUPS[group])
            chosen += (
                found
                if group in choice.NEVER_THINNED
                else choice.thinned(found, every=options.every, seed=options.seed)
            )
    kept = [trial for trial in chosen if not options.at or options.at in str(trial)]
    return choice.mixed(kept, seed=options.seed)


def _try(make_bench: run.MakeBench, calm: Mapping[str, run.Outcome], trial: Trial) -> report.Result:
    began_s = time.monotonic()
    fault = run.Fault(point=trial.point, kind=trial.kind, calm=calm[trial.scenario])
    try:
        here = _run(make_bench, SCENARIOS[trial.scenario], fault)
    except Exception as error:  # noqa: BLE001 - one run's trouble is a line of the report
        words = f"the bench failed: {type(error).__name__}: {error}"
        return report.Result(trial=trial, was_reached=True, seconds=time.monotonic() - began_s, differences=(words,))
    differences = tuple(run.judge(calm[trial.scenario], here))
    return report.Result(trial=trial, was_reached=here.was_reached, seconds=here.seconds, differences=differences)


def _run(make_bench: run.MakeBench, scenario: Scenario, fault: run.Fault) -> run.Outcome:
    """A run that the bench could not make, as the API server gave it no answer, says nothing: it is made again."""
    for _ in range(BENCH_TRIES - 1):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return run.run(make_bench, scenario, fault)
    return run.run(make_bench, scenario, fault)


if __name__ == "__main__":
    sys.exit(main())
