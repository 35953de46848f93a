"""Where a model is cut, so that the weights of the largest stage are as small as possible.

A model is a sequence of steps in an order in which each comes after those whose tensors it takes. Between two steps
there is a place: the tensors that cross it are those that were made before it and are needed after it. A single tensor
that all paths from the inputs to the outputs go through is the only one that crosses the place after its step, in
every such order, since each other step is either before it or after it on such a path. So one order shows all places
that one tensor crosses, and some of those that a few cross.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

CROSSING_MAX = 8
"""More tensors than this don't cross a place where a model is cut."""
PLACES_MAX = 400
"""So many places are compared at most: the time grows with their square."""


class CannotCutError(Exception):
    """The model can't be served in so many stages; the text says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operation that depends on the model's inputs: the tensors that it takes and makes, the weights it reads."""

    name: str
    takes: tuple[str, ...]
    makes: tuple[str, ...]
    weights: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A model as steps in an order of their dependencies.

    `weight_bytes` has the size of each weight, `unsendable` the tensors that can't go from a process to another.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    weight_bytes: Mapping[str, int]
    unsendable: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place after the first `steps` steps, and what crosses it, in the order in which it was made."""

    steps: int
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The steps from `start` up to `end`; a weight that several stages read counts in each."""

    start: int
    end: int
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    weights: frozenset[str] = field(repr=False)
    weight_bytes: int


def cut(flow: Flow, stages: int) -> tuple[Stage, ...]:
    """The model in this number of stages. Each stage reads weights.

    The largest stage is as small as it can be, up to a hundredth of all weights. Among such cuts it is one that the
    fewest tensors cross, and of those the last one: no layer is torn apart for the size of its bias.

    Raises:
        CannotCutError: there are too few places.
    """
    places = list(_useful(flow))
    if len(places) < stages - 1:
        raise CannotCutError(_too_few(len(places) + 1))
    chosen = _best(flow, _thin_out(places, stages), stages)
    cuts = (Place(steps=0, tensors=flow.inputs), *chosen, Place(steps=len(flow.steps), tensors=flow.outputs))
    return tuple(_stage(flow, start, end) for start, end in itertools.pairwise(cuts))


def find_places(flow: Flow) -> Iterator[Place]:
    """All places that at most CROSSING_MAX tensors cross. Each of these tensors can be sent."""
    last_use = _last_use(flow)
    crossing = {tensor: None for tensor in flow.inputs if last_use.get(tensor, -1) >= 0}
    for number, step in enumerate(flow.steps):
        crossing.update({tensor: None for tensor in step.makes if last_use.get(tensor, -1) > number})
        for tensor in {*step.takes, *flow.inputs} & crossing.keys():
            if last_use[tensor] <= number:
                del crossing[tensor]
        if 0 < len(crossing) <= CROSSING_MAX and flow.unsendable.isdisjoint(crossing):
            yield Place(steps=number + 1, tensors=tuple(crossing))


def _last_use(flow: Flow) -> Mapping[str, int]:
    """The last step that takes a tensor; the number of steps for an output."""
    found: dict[str, int] = {}
    for number, step in enumerate(flow.steps):
        found.update(dict.fromkeys(step.takes, number))
    made = {*flow.inputs, *(tensor for step in flow.steps for tensor in step.makes)}
    found.update({tensor: len(flow.steps) for tensor in flow.outputs if tensor in made})
    return found


def _useful(flow: Flow) -> Sequence[Place]:
    """One place for each amount of weights that were read so far, so that weights are on both sides.

    It is the one that the fewest tensors cross, and of those the last one: what comes between two layers with weights,
    such as pooling, mostly makes the tensors smaller.
    """
    reads = [number for number, step in enumerate(flow.steps) if step.weights]
    found: dict[int, Place] = {}
    read = 0
    for place in find_places(flow):
        while read < len(reads) and reads[read] < place.steps:
            read += 1
        known = found.get(read)
        if known is None or len(place.tensors) <= len(known.tensors):
            found[read] = place
    return [place for read, place in found.items() if 0 < read < len(reads)]


def _thin_out(places: Sequence[Place], stages: int) -> Sequence[Place]:
    """Not more than can be compared in a few seconds, evenly spread."""
    most = max(PLACES_MAX, stages)
    if len(places) <= most:
        return places
    return [places[number * len(places) // most] for number in range(most)]


def _best(flow: Flow, places: Sequence[Place], stages: int) -> Sequence[Place]:
    """The places of the cuts. There must be enough places.

    After each round, `best` has for each position where a cut can be the best way to get there with one stage more: the
    largest stage in hundredths of all weights, the number of tensors that cross, and the negative positions.
    """
    positions = [0, *(place.steps for place in places), len(flow.steps)]
    sizes = _sizes(flow, positions)
    last = len(positions) - 1
    unit = max(1, sizes[0][-1] // 100)
    best: dict[int, tuple[int, int, tuple[int, ...]]] = {0: (0, 0, ())}
    for more in reversed(range(stages)):
        found: dict[int, tuple[int, int, tuple[int, ...]]] = {}
        for start, (largest, crossing, chosen) in best.items():
            # As many positions stay as there are stages to come.
            for end in range(start + 1, last - more + 1) if more else (last,):
                tensors = len(places[end - 1].tensors) if more else 0
                size = -(-sizes[start][end - start - 1] // unit)
                way = (max(largest, size), crossing + tensors, (*chosen, -end))
                found[end] = min(way, found.get(end, way))
        best = found
    return [places[-position - 1] for position in best[last][2][:-1]]


def _sizes(flow: Flow, positions: Sequence[int]) -> Sequence[Sequence[int]]:
    """For each position the bytes of the weights that are read from it up to each later one."""
    read = [
        frozenset[str]().union(*(step.weights for step in flow.steps[start:end]))
        for start, end in itertools.pairwise(positions)
    ]
    sizes = []
    for start in range(len(read)):
        seen, total, row = set[str](), 0, list[int]()
        for weights in read[start:]:
            total += sum(flow.weight_bytes[weight] for weight in weights - seen)
            seen |= weights
            row.append(total)
        sizes.append(row)
    return sizes


def _stage(flow: Flow, start: Place, end: Place) -> Stage:
    weights = frozenset[str]().union(*(step.weights for step in flow.steps[start.steps : end.steps]))
    return Stage(
        start=start.steps,
        end=end.steps,
        takes=start.tensors,
        gives=end.tensors,
        weights=weights,
        weight_bytes=sum(flow.weight_bytes[weight] for weight in weights),
    )


def _too_few(most: int) -> str:
    needed = f"a place to cut has weights on both sides, and at most {CROSSING_MAX} tensors cross it"
    if most == 1:
        return f"it can't be cut into stages ({needed}): leave spec.optimization.parallelism out"
    return f"it can be cut into at most {most} stages ({needed}): set spec.optimization.parallelism.stages: {most}"
