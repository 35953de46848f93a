"""Which faults are tried at which writes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.faults.script import KILLS, READS, START, WATCHES, Kind, Point

ANSWERS = tuple(kind for kind in Kind if kind not in (*KILLS, Kind.KILL_TWICE, *READS, *WATCHES))
GROUPS: Mapping[str, tuple[Kind, ...]] = {
    "kills": KILLS,
    "two kills": (Kind.KILL_TWICE,),
    "answers": ANSWERS,
    "watches": tuple(kind for kind in Kind if kind in WATCHES),
    "reads": tuple(READS),
}
NEVER_THINNED = ("kills", "two kills")
_IMPOSSIBLE = {
    # Ray's dashboard and a replica know no resource versions, and the dashboard limits no rate.
    "serve config": {Kind.CONFLICT, Kind.BUSY},
    "prediction": {Kind.CONFLICT},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    scenario: str
    point: Point
    kind: Kind

    def __str__(self) -> str:
        return f"{self.scenario}, {self.point}: {self.kind}"


def trials(scenario: str, points: Sequence[Point], kinds: Iterable[Kind]) -> list[Trial]:
    """Every kind at every point at which it can happen."""
    return [
        Trial(scenario=scenario, point=point, kind=kind)
        for kind in kinds
        for point in ((START, *points) if kind in READS or kind in WATCHES else points)
        if kind not in _IMPOSSIBLE.get(point.write, ())
    ]


def thinned(chosen: Sequence[Trial], *, every: int, seed: int) -> list[Trial]:
    """One of ``every`` trials of each scenario and kind, at points that the seed decides."""
    if every == 1:
        return list(chosen)
    by_group: dict[tuple[str, Kind], list[Trial]] = {}
    for trial in chosen:
        by_group.setdefault((trial.scenario, trial.kind), []).append(trial)
    rng = random.Random(seed)
    kept = []
    for group in by_group.values():
        kept += rng.sample(group, -(-len(group) // every))
    return kept


def mixed(chosen: Sequence[Trial], *, seed: int) -> list[Trial]:
    """In an order in which every beginning is a fair sample of the whole; the seed decides which."""
    return random.Random(seed).sample(chosen, len(chosen))


def sample(scenario: str, points: Sequence[Point], *, number: int, seed: int) -> list[Trial]:
    """Few for ``make test``: a kill, before a write or after, and one of the other faults; over all stories, most."""
    rng = random.Random(f"{seed} {scenario}")
    others = [kind for kind in Kind if kind not in KILLS]
    kinds = (KILLS[number % len(KILLS)], others[OTHERS_STRIDE * number % len(others)])
    return [rng.choice(trials(scenario, points, [kind])) for kind in kinds]


OTHERS_STRIDE = 5
