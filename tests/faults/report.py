"""The results as a table that people read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.choice import Trial
from tests.faults.script import Kind, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    trial: Trial
    was_reached: bool
    seconds: float
    differences: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return "DIVERGES" if self.differences else "as when calm" if self.was_reached else "not reached"

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def load(path: Path) -> list[Result]:
    """What an earlier, interrupted run has found."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        body = json.loads(line)
        trial = body["trial"]
        found.append(
            Result(
                trial=Trial(scenario=trial["scenario"], point=Point(**trial["point"]), kind=Kind(trial["kind"])),
                was_reached=body["was_reached"],
                seconds=body["seconds"],
                differences=tuple(body["differences"]),
            )
        )
    return found


def table(results: Sequence[Result]) -> str:
    """Runs by fault and scenario: ``12`` all as when calm, ``12 / 1`` one of them differs."""
    scenarios = list(dict.fromkeys(result.trial.scenario for result in results))
    heads = [*scenarios, "runs", "not reached", "diverge"]
    lines = [f"| fault | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    for kind in [kind for kind in Kind if any(result.trial.kind is kind for result in results)]:
        lines.append(_row(kind, scenarios, [result for result in results if result.trial.kind is kind]))
    lines.append(_row("all", scenarios, results))
    return "\n".join(lines)


def _row(name: str, scenarios: Sequence[str], results: Sequence[Result]) -> str:
    cells = [_cell([result for result in results if result.trial.scenario == scenario]) for scenario in scenarios]
    missed = sum(not result.was_reached for result in results)
    return f"| {name} | {' | '.join(cells)} | {len(results)} | {missed} | {_diverging(results)} |"


def _cell(results: Sequence[Result]) -> str:
    diverging = _diverging(results)
    return f"{len(results)} / {diverging}" if diverging else str(len(results))


def _diverging(results: Sequence[Result]) -> int:
    return sum(bool(result.differences) for result in results)
