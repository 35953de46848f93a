"""One run of one story, calm or with one fault, and what it left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults import portrait, tally
from tests.faults.bench import MODEL, Bench
from tests.faults.scenarios import Scenario
from tests.faults.script import Kind, Point, Write
from tests.faults.witness import Witness

PATIENCE_S = 20.0

MakeBench = Callable[[], Bench]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``points`` are the writes of the run, in order; ``broken`` is what was not as it should be."""

    end: dict[str, Any]
    tally: tally.Tally
    points: tuple[Point, ...]
    was_reached: bool
    faults: int
    seconds: float
    broken: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``calm`` is what the end shall be."""

    point: Point
    kind: Kind
    calm: Outcome


def run(make_bench: MakeBench, scenario: Scenario, fault: Fault | None = None) -> Outcome:
    """Set up, count and strike, wait for the end and for silence, look."""
    point, kind = (fault.point, fault.kind) if fault is not None else (None, None)
    began_s = time.monotonic()
    with make_bench() as bench:
        scenario.set_up(bench)
        names = portrait.Names(bench)
        before = _before(bench, names)
        bench.script.on_write = Witness(bench).look
        bench.script.arm(point, kind)
        bench.clients = scenario.clients()
        scenario.act(bench)
        broken = _wait(bench, scenario, names)
        end = portrait.end_of(bench, names)
        if fault is not None and end != fault.calm.end:
            end = _later(bench, scenario, names, fault.calm)
        writes = tuple(bench.script.writes)
        return Outcome(
            end=end,
            tally=tally.of(writes, before=before, names=names),
            points=points_of(writes),
            was_reached=bench.script.reached.is_set(),
            faults=max(int(bench.script.reached.is_set()), sum(write.struck is not None for write in writes)),
            seconds=time.monotonic() - began_s,
            broken=(*broken, *bench.script.broken),
        )


def judge(calm: Outcome, here: Outcome) -> list[str]:
    """Every difference from the calm run that no rule explains."""
    return [
        *here.broken,
        *portrait.differences(calm.end, here.end),
        *tally.disagreements(calm.tally, here.tally, faults=here.faults),
    ]


def points_of(writes: tuple[Write, ...]) -> tuple[Point, ...]:
    seen: dict[str, int] = {}
    points = []
    for write in writes:
        seen[write.name] = seen.get(write.name, 0) + 1
        points.append(Point(write=write.name, nth=seen[write.name]))
    return tuple(points)


def _wait(bench: Bench, scenario: Scenario, names: portrait.Names) -> list[str]:
    def has_ended(here: Bench) -> bool:
        # Revisions that are gone in the end have to be known by name, too.
        names.learn(here.model(), here.revisions())
        return scenario.has_ended(here)

    try:
        bench.until(has_ended, f"{scenario.name} ends")
        bench.until_quiet()
    except AssertionError as error:
        return [f"does not come to its end: {error}"]
    return []


def _later(bench: Bench, scenario: Scenario, names: portrait.Names, calm: Outcome) -> dict[str, Any]:
    """The end after a while: on a busy machine silence may be slowness. What never gets there differs."""
    with contextlib.suppress(AssertionError):
        bench.until(lambda here: portrait.end_of(here, names) == calm.end, "it is as when calm", deadline_s=PATIENCE_S)
        bench.until_quiet()
    return portrait.end_of(bench, names)


def _before(bench: Bench, names: portrait.Names) -> tally.Before:
    model = bench.model()
    names.learn(model, bench.revisions())
    route = bench.routes().get(MODEL)
    entry = {key: value for key, value in route.items() if key != "version"} if route is not None else None
    return tally.Before(
        status=(model or {}).get("status") or {},
        route=[entry],
        serve={name: config["args"] for name, config in bench.ray.applications().items()},
    )
