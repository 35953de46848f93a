"""One run of one story, calm or with one fault, and what it left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.faults import bystander, pictures, portrait, tally
from tests.faults.bench import Bench
from tests.faults.place import MODEL
from tests.faults.scenarios import Scenario, is_at_rest
from tests.faults.script import Kind, Point, Write
from tests.faults.witness import Witness

PATIENCE_S = 60.0

MakeBench = Callable[[], Bench]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where a story begins, in both namespaces."""

    story: pictures.Picture
    bystander: pictures.Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``points`` are the writes of the run, in order; ``broken`` is what was not as it should be."""

    start: Start
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


def run(
    make_bench: MakeBench, scenario: Scenario, fault: Fault | None = None, *, start: Start | None = None
) -> Outcome:
    """Set up, count and strike, wait for the end and for silence, look.

    Without ``start`` or a fault everything is set up as a person would; else it begins where another run began.
    """
    point, kind = (fault.point, fault.kind) if fault is not None else (None, None)
    began_s = time.monotonic()
    with make_bench() as bench:
        start = _begin(bench, scenario, fault.calm.start if fault is not None else start)
        names, beside = portrait.Names(bench), portrait.Names(bench.bystander)
        before = _before(bench, names)
        configs = [{"applications": list(bench.bystander.ray.applications().values())}]
        puts_before = len(bench.bystander.ray.puts)
        bench.script.on_write = Witness(bench).look
        bench.script.arm(point, kind)
        bench.clients = scenario.clients()
        scenario.act(bench)
        broken = _wait(bench, scenario, names)
        end = _end_of(bench, names, beside)
        if fault is not None and end != fault.calm.end:
            end = _later(bench, lambda: _end_of(bench, names, beside), fault.calm)
        writes = tuple(bench.script.writes)
        configs += bench.bystander.ray.puts[puts_before:]
        return Outcome(
            start=start,
            end=end,
            tally=tally.of(writes, before=before, names=names),
            points=points_of(writes),
            was_reached=bench.script.reached.is_set(),
            faults=max(int(bench.script.reached.is_set()), sum(write.struck is not None for write in writes)),
            seconds=time.monotonic() - began_s,
            broken=(*broken, *bench.script.broken, *bystander.touches(bench.script.bystander_writes, configs)),
        )


def _begin(bench: Bench, scenario: Scenario, start: Start | None) -> Start:
    if start is not None:
        pictures.restore(bench, start.story)
        pictures.restore(bench.bystander, start.bystander)
        bench.start_operator()
        bench.until_quiet()
        return start
    bench.start_operator()
    bench.bystander.create(bystander.SPEC)
    scenario.set_up(bench)
    bench.until(lambda here: is_at_rest(here.bystander), "the bystander serves")
    bench.until_quiet()
    return Start(story=pictures.take(bench), bystander=pictures.take(bench.bystander))


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
    is_asked = False

    def scale_bystander() -> None:
        nonlocal is_asked
        if not is_asked:
            bystander.scale(bench.bystander)
        is_asked = True

    def has_ended(here: Bench) -> bool:
        # Revisions that are gone in the end have to be known by name, too.
        names.learn(here.model(), here.revisions())
        if here.script.reached.is_set():
            scale_bystander()
        return scenario.has_ended(here)

    try:
        bench.until(has_ended, f"{scenario.name} ends")
        scale_bystander()
        bench.until(lambda here: bystander.is_scaled(here.bystander), "the bystander is scaled")
        bench.until_quiet()
    except AssertionError as error:
        return [f"does not come to its end: {error}"]
    return []


def _end_of(bench: Bench, names: portrait.Names, beside: portrait.Names) -> dict[str, Any]:
    return {**portrait.end_of(bench, names), "bystander": portrait.end_of(bench.bystander, beside)}


def _later(bench: Bench, end_now: Callable[[], dict[str, Any]], calm: Outcome) -> dict[str, Any]:
    """The end after a while: on a busy machine silence may be slowness. What never gets there differs."""
    with contextlib.suppress(AssertionError):
        bench.until(lambda _: end_now() == calm.end, "it is as when calm", deadline_s=PATIENCE_S)
        bench.until_quiet()
    return end_now()


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
