"""What a run did to each object: how often it was made and taken away, and the values that it passed through."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.place import MODEL
from tests.faults.portrait import Names
from tests.faults.script import Write
from tests.support import merge_patch

from fairlead_operator.api.status import RolloutPhase

Value = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """``made`` and ``taken`` are by object; ``paths`` are values in order, repeats left out.

    ``done`` and ``vain`` count by write what the server did, and what it refused or never got. ``verdicts`` are the
    analyses' own sentences, with their numbers.
    """

    made: Mapping[str, int]
    taken: Mapping[str, int]
    paths: Mapping[str, list[Value]]
    done: Mapping[str, int]
    vain: Mapping[str, int]
    verdicts: frozenset[str]


def of(writes: Iterable[Write], *, before: Before, names: Names) -> Tally:
    """Counted are effects: what the server did, whether or not the operator learnt of it."""
    writes = tuple(writes)
    made: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for write in writes:
        if write.happened and write.name == "revision made":
            made[f"ControllerRevision {write.document()['metadata']['name']}"] += 1  # type: ignore[index]
        elif write.happened and write.name == "revision deleted":
            taken[f"ControllerRevision {write.path.rpartition('/')[2]}"] += 1
    routes = [*before.route, *_route_values(writes)]
    _count_changes(routes, "route", made, taken)
    configs = [before.serve, *(_applications(w) for w in writes if w.name == "serve config" and w.happened)]
    for old, new in itertools.pairwise(configs):
        _count_applications(old, new, made, taken)
    paths = {
        "route": _without_repeats(routes),
        "status": _without_repeats(_status_values(before.status, writes)),
        "finalizers": [w.document()["metadata"]["finalizers"] for w in writes if _is(w, "finalizer")],  # type: ignore[index]
    }
    paths["sums"] = _without_repeats(_sums(before.status, writes))
    return Tally(
        made=names.shared(dict(made)),
        taken=names.shared(dict(taken)),
        paths=names.shared(paths),
        done=dict(Counter(w.name for w in writes if w.happened)),
        vain=dict(Counter(w.name for w in writes if not w.happened)),
        verdicts=frozenset(names.shared(_verdicts(writes))),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The world when the counting began."""

    status: Mapping[str, Any]
    route: list[Value]
    serve: Mapping[str, Any]


def _is(write: Write, name: str) -> bool:
    return write.name == name and write.happened


def _route_values(writes: Iterable[Write]) -> list[Value]:
    """The model's route after each write: None where it is deleted."""
    values: list[Value] = []
    for write in writes:
        spec: Any = write.document().get("spec")
        if _is(write, "route") and write.path.endswith(f"/{MODEL}"):
            values.append(_without_version(spec))
        elif _is(write, "route deleted") and write.path.endswith(f"/{MODEL}"):
            values.append(None)
    return values


def _without_version(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "version"}


def _count_changes(values: list[Value], what: str, made: Counter[str], taken: Counter[str]) -> None:
    for old, new in itertools.pairwise([None, *values]):
        made[what] += old is None and new is not None
        taken[what] += old is not None and new is None


def _applications(write: Write) -> dict[str, Any]:
    applications: Any = write.document()["applications"]
    return {application["name"]: application["args"] for application in applications}


def _count_applications(
    old: Mapping[str, Any], new: Mapping[str, Any], made: Counter[str], taken: Counter[str]
) -> None:
    """Other arguments are another application: Ray restarts it in place."""
    for name in sorted({*old, *new}):
        changed = old.get(name) != new.get(name)
        made[f"application {name}"] += changed and name in new
        taken[f"application {name}"] += changed and name in old


def _status_values(status: Mapping[str, Any], writes: Iterable[Write]) -> list[Value]:
    """Which revision has which place, and how far the rollout is.

    ``Retiring`` is left out: a deletion writes it only where it has to wait, so an operator that was away meanwhile
    finds nothing left to wait for. So are the phases and steps in which no traffic moves: whether one is written
    depends on how long it lasts. So is the time without a rollout between two: whether the pass that ends one may begin
    the next depends on what can be read then.
    """
    document: Any = dict(status)
    values = [_place(document)]
    for write in writes:
        if _is(write, "status"):
            document = merge_patch.merged(document, write.document()["status"])
            values.append(_place(document))
    kept = [value for value in values if value["phase"] not in _MAY_BE_PASSED and not _is_without_effect(value)]
    return [value for value in kept[:-1] if value["phase"] is not None] + kept[-1:]


_MAY_BE_PASSED = frozenset(
    {
        *(RolloutPhase.CONNECTING, RolloutPhase.PROVING, RolloutPhase.WIDENING),
        *(RolloutPhase.DRAINING, RolloutPhase.RETIRING),
    }
)


def _is_without_effect(value: Mapping[str, Any]) -> bool:
    """A candidate that has no traffic yet, or shares it with nothing."""
    return value["phase"] == RolloutPhase.SHIFTING and (value["stable"] is None or not value["weight"])


def _sums(status: Mapping[str, Any], writes: Iterable[Write]) -> list[Value]:
    """What was counted of both revisions in each step that had a measurement of clients."""
    values = []
    document: Any = dict(status)
    for write in writes:
        if _is(write, "status"):
            document = merge_patch.merged(document, write.document()["status"])
            rollout = document.get("rollout") or {}
            counted = {who: _counted((rollout.get("analysis") or {}).get(who) or {}) for who in ("stable", "candidate")}
            if any(counted.values()):
                values.append({"step": rollout.get("step"), **counted})
    return values


def _verdicts(writes: Iterable[Write]) -> list[str]:
    sent = [write.document() for write in writes if write.name == "event"]
    return [str(event["note"]) for event in sent if str(event.get("reason")).startswith("Analysis")]


def _counted(counters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in counters.items() if isinstance(count, int) and count}


def _place(status: Mapping[str, Any]) -> dict[str, Any]:
    rollout = status.get("rollout") or {}
    return {
        "stable": status.get("stableRevision"),
        "candidate": status.get("candidateRevision"),
        **{key: rollout.get(key) for key in ("phase", "weight", "leaving")},
    }


def _without_repeats(values: list[Value]) -> list[Value]:
    return [value for value, _ in itertools.groupby(values)]


def disagreements(calm: Tally, here: Tally, *, faults: int) -> list[str]:
    """The rule: objects are made and taken away as often as in the calm run, and pass through the same values.

    A write may be done again: once for each fault, and a status beyond that, as it tells what was seen on the way.
    Events are left out: nothing depends on them, and the process that makes one is part of its name. What an analysis
    says in one has to be what it said when calm, to the number.
    """
    found = []
    for what, one, other in (("made", calm.made, here.made), ("taken away", calm.taken, here.taken)):
        for name in sorted({*one, *other}):
            if one.get(name, 0) != other.get(name, 0):
                found.append(f"{name}: {what} {one.get(name, 0)} times when calm, {other.get(name, 0)} times here")
    for name in calm.paths:
        if calm.paths[name] != here.paths[name]:
            found.append(f"path of {name}: calm {calm.paths[name]}, here {here.paths[name]}")
    for words in sorted(here.verdicts - calm.verdicts):
        found.append(f"another verdict: calm {sorted(calm.verdicts)}, here {words!r}")
    for what, one, other, more in (
        ("done", calm.done, here.done, faults),
        ("tried in vain", calm.vain, here.vain, VAIN_SLACK * faults + OWN_CONFLICTS),
    ):
        for name in sorted({*other} - {"event"}):
            most = one.get(name, 0) + more + (STATUS_SLACK if name == "status" else 0)
            if other[name] > most:
                found.append(f"{name}: {what} {other[name]} times, at most {most} are explained")
    return found


VAIN_SLACK = 2
OWN_CONFLICTS = 1
"""Of one kind of write in a run: the operator may read an object that it has just written itself, and write again."""
STATUS_SLACK = 6
