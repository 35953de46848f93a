"""Starts a replica for each setting, then sends each of them the load of one of so many replicas, in turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fairlead_cli import load
from fairlead_cli.comparison.processes import CandidateProcess
from fairlead_cli.local import ports
from fairlead_cli.tuning import replica
from fairlead_cli.tuning.errors import TuningError
from fairlead_cli.tuning.figures import Block, Measured, Point
from fairlead_cli.tuning.settings import Plan, Setting, require_time
from fairlead_runtime.config import EngineMode

CONNECTIONS_MAX = 128
TIMEOUT_S_MIN = 5.0
"""How long an answer is waited for, at least; else twice the target."""

WARM_UP_REQUESTS = 50
START_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The model and what is sent to it; `body` is a request of the Open Inference Protocol, or of `:predict`."""

    model: pathlib.Path
    signature: str | None
    engine: EngineMode
    body: bytes
    is_v1: bool

    @property
    def path(self) -> str:
        return f"/v1/models/{replica.MODEL}:predict" if self.is_v1 else f"/v2/models/{replica.MODEL}/infer"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    setting: Setting
    pid: int
    url: str


def measure(plan: Plan, served: Served, progress: Callable[[str], None]) -> Sequence[Measured]:
    """In the order of `plan.settings`. Raises TuningError or EvaluationError, which both are for a person."""
    require_time(plan)
    with _started(plan, served, progress) as sides:
        for side in sides:
            _warm_up(side, served)
        blocks: dict[tuple[Setting, int], list[Block]] = {}
        progress(f"{plan.rounds} rounds in turns, {plan.block_s:.1f} s with each setting and number of replicas")
        for number in range(plan.rounds):
            for count in plan.replicas:
                for turn in range(len(sides)):
                    side = sides[(turn + number) % len(sides)]
                    block = _ask(side, served, plan, count)
                    blocks.setdefault((side.setting, count), []).append(block)
            progress(f"round {number + 1} of {plan.rounds} is done")
        return [
            Measured(
                setting=side.setting,
                points={
                    count: Point(setting=side.setting, replicas=count, blocks=blocks[side.setting, count])
                    for count in plan.replicas
                },
                memory_bytes=_peak_memory(side.pid),
            )
            for side in sides
        ]


@contextlib.contextmanager
def _started(plan: Plan, served: Served, progress: Callable[[str], None]) -> Iterator[Sequence[_Side]]:
    """One after the other: each loads alone. The time that it takes is no part of the time of the blocks."""
    sides: list[_Side] = []
    taken: set[int] = set()
    with tempfile.TemporaryDirectory(prefix="fairlead-tune-") as work, contextlib.ExitStack() as stack:
        for number, setting in enumerate(plan.settings):
            progress(f"starting {setting.name}")
            folder = pathlib.Path(work, str(number))
            folder.mkdir()
            taken.add(port := ports.pick(taken))
            request = replica.Request(
                model=served.model,
                signature=served.signature,
                engine=served.engine,
                threads=setting.threads,
                batching=setting.batching,
                folder=folder,
                cache=pathlib.Path(work, "cache"),
                directory_port=port,
                parent=os.getpid(),
            )
            module = "fairlead_cli.tuning.replica"
            process = stack.enter_context(CandidateProcess(setting.name, request, seconds=START_S, module=module))
            url = f"http://127.0.0.1:{process.read()['port']}"
            sides.append(_Side(setting=setting, pid=process.pid, url=url))
        yield sides


def _warm_up(side: _Side, served: Served) -> None:
    """Also shows whether the request fits the model, before anything is measured."""
    report = asyncio.run(load.run(_settings(side, served, connections=1).model_copy(update={"requests": 1})))
    if report.failed:
        failure = report.failures[0]
        found = f"{failure.detail}: {failure.body}" if failure.body else failure.detail
        raise TuningError(f"the model does not answer the request ({found}): give one that it answers by --request")
    asyncio.run(load.run(_settings(side, served, connections=8).model_copy(update={"requests": WARM_UP_REQUESTS})))


def _ask(side: _Side, served: Served, plan: Plan, count: int) -> Block:
    """An open loop: a request's time begins when it is due, whether or not the replica keeps up."""
    asked = _settings(side, served, connections=CONNECTIONS_MAX)
    rate = plan.load.rate / count
    given = {
        "rate_limit": rate,
        "open_loop": True,
        "duration_s": plan.block_s,
        "timeout_s": max(TIMEOUT_S_MIN, 2 * plan.load.latency_max_s),
    }
    before_s = _processor_s(side.pid)
    report = asyncio.run(load.run(asked.model_copy(update=given)))
    spent_s = _processor_s(side.pid) - before_s
    return Block(
        offered=rate,
        # Of the requests that were sent in this time: the wait for the last answers is latency, and no lower rate.
        answered=report.ok / plan.block_s,
        requests=report.requests,
        failed=report.failed,
        p50_s=None if report.latency is None else report.latency.p50_ms / 1e3,
        p99_s=None if report.latency is None else report.latency.p99_ms / 1e3,
        cpu_s_per_request=spent_s / max(1, report.requests),
    )


def _settings(side: _Side, served: Served, *, connections: int) -> load.Settings:
    return load.Settings(
        url=side.url,
        model=replica.MODEL,
        path=served.path,
        bodies=(served.body,),
        connections=connections,
        timeout_s=START_S,
    )


def _processor_s(pid: int) -> float:
    """User and system time of a process and its threads. Source: proc_pid_stat(5), utime and stime."""
    after_name = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _peak_memory(pid: int) -> int:
    """The most that was resident, in bytes. Source: proc_pid_status(5), VmHWM."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
