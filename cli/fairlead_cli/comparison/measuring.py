"""Measures the candidates: evaluates each, starts each alone, then calls all of them in turns."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_cli.comparison import candidate, choosing
from fairlead_cli.comparison.figures import ROWS, Latency, Measured
from fairlead_cli.comparison.processes import CandidateProcess
from fairlead_cli.evaluation import evaluating
from fairlead_cli.evaluation.errors import EvaluationError
from fairlead_runtime.config import EngineMode
from fairlead_runtime.model.evaluation_record import EvaluationRecord

CANDIDATES_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured and how. `seconds` bounds each step of a candidate, `memory_bytes` its process."""

    models: Sequence[pathlib.Path]
    data: pathlib.Path
    signature: str | None
    engine: EngineMode
    threads: int
    rounds: int
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """A candidate under measurement: the path as it was given, the model there, and its folder of work."""

    name: str
    root: pathlib.Path
    folder: pathlib.Path


def measure(plan: Plan, progress: Callable[[str], None]) -> Sequence[Measured]:
    """In the order of `plan.models`. Raises EvaluationError."""
    roots = _find(plan)
    with tempfile.TemporaryDirectory(prefix="fairlead-compare-") as work:
        sides = []
        for number, (path, root) in enumerate(zip(plan.models, roots, strict=True)):
            folder = pathlib.Path(work, str(number))
            folder.mkdir()
            sides.append(_Side(name=str(path), root=root, folder=folder))
        records = []
        for side in sides:
            progress(f"{side.name}: evaluating")
            records.append(_evaluate(plan, side))
        alone = []
        for side in sides:
            progress(f"{side.name}: starting it alone")
            alone.append(_start_alone(plan, side))
        progress(f"{plan.rounds} rounds of calls, in turns")
        latencies = _call_in_turns(plan, sides)
        return [
            Measured(
                name=side.name,
                record=record,
                right=np.load(side.folder / candidate.RIGHT),
                engine=start["engine"],
                why=start["why"],
                latency=latency,
                load_s=start["load_s"],
                memory_bytes=start["rss_bytes"],
                pss_bytes=start["pss_bytes"],
                size_bytes=_size(side.root),
            )
            for side, record, start, latency in zip(sides, records, alone, latencies, strict=True)
        ]


def _find(plan: Plan) -> Sequence[pathlib.Path]:
    count = len(plan.models)
    if not 2 <= count <= CANDIDATES_MAX:
        raise EvaluationError(f"{count} candidates are given; name from 2 to {CANDIDATES_MAX} models")
    needed = choosing.rounds_needed(count)
    if plan.rounds < needed:
        text = f"{plan.rounds} rounds can't show that {count} candidates differ in latency"
        raise EvaluationError(f"{text}; --rounds must be at least {needed}")
    if not plan.data.is_file():
        raise EvaluationError(f"{plan.data}: there is no such file; --data must be a .npz file of labelled data")
    roots = [evaluating.find_model(path) for path in plan.models]
    for number, root in enumerate(roots):
        if root in roots[:number]:
            first = plan.models[roots.index(root)]
            raise EvaluationError(f"{plan.models[number]} is the same model as {first}; name each model once")
    return roots


def _request(plan: Plan, side: _Side, *, is_evaluation: bool) -> candidate.Request:
    return candidate.Request(
        model=side.root,
        signature=plan.signature,
        engine=plan.engine,
        threads=plan.threads,
        data=plan.data,
        folder=side.folder,
        cache=side.folder.parent / "cache",
        memory_bytes=plan.memory_bytes,
        is_evaluation=is_evaluation,
        parent=os.getpid(),
    )


def _evaluate(plan: Plan, side: _Side) -> EvaluationRecord:
    with CandidateProcess(side.name, _request(plan, side, is_evaluation=True), seconds=plan.seconds) as process:
        return EvaluationRecord.model_validate(process.read()["record"])


def _start_alone(plan: Plan, side: _Side) -> dict[str, Any]:
    """Load time and memory, with no other candidate beside it, whose libraries it would share."""
    with CandidateProcess(side.name, _request(plan, side, is_evaluation=False), seconds=plan.seconds) as process:
        started = process.read()
        for rows in ROWS:
            process.ask(str(rows))
        return {**started, **process.ask(candidate.MEMORY)}


def _call_in_turns(plan: Plan, sides: Sequence[_Side]) -> Sequence[dict[int, Latency]]:
    """Each round calls each candidate with each number of rows; the order rotates, and the first round isn't kept."""
    found: list[dict[int, list[Any]]] = [{rows: [] for rows in ROWS} for _ in sides]
    with contextlib.ExitStack() as stack:
        processes = []
        for side in sides:
            request = _request(plan, side, is_evaluation=False)
            process = stack.enter_context(CandidateProcess(side.name, request, seconds=plan.seconds))
            process.read()
            processes.append(process)
        for number in range(plan.rounds + 1):
            for rows in ROWS:
                for turn in range(len(sides)):
                    index = (turn + number) % len(sides)
                    answer = processes[index].ask(str(rows))
                    if number:
                        found[index][rows].append(answer)
    return [{rows: _latency(answers) for rows, answers in each.items()} for each in found]


def _latency(answers: Sequence[Any]) -> Latency:
    return Latency(
        p50_s=[answer["p50_s"] for answer in answers],
        p99_s=[answer["p99_s"] for answer in answers],
        calls=sum(answer["calls"] for answer in answers),
    )


def _size(root: pathlib.Path) -> int:
    """Bytes of the model's files."""
    files = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files)
