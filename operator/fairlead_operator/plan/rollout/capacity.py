"""Before a rollout starts: whether its replicas fit beside those that serve. What is not known holds nothing up."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator.api.spec import Strategy
from fairlead_operator.api.strategies import OnInsufficientCapacity
from fairlead_operator.plan.context import Context
from fairlead_operator.state.capacity import Size
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """The surge is known not to fit, and what is done about it."""

    message: str
    recreates: bool


def lack(context: Context, aimed: str) -> Lack | None:
    """None where it fits, where nothing serves that it would stand beside, and where it can't be known."""
    stable, candidate = context.serving.stable, context.desired.revisions[aimed]
    if stable is None or context.desired.strategy is Strategy.RECREATE:
        return None
    if not isinstance(context.observed.capacity, Known) or not isinstance(context.serve_of(aimed), Known):
        return None
    needed = min(context.desired.replicas, context.desired.surge)
    fitting = min(needed, context.observed.capacity.value.fitting(_size(candidate)))
    if fitting >= needed:
        return None
    words = _words(context, candidate, needed=needed, fitting=fitting)
    if context.desired.on_insufficient_capacity is not OnInsufficientCapacity.RECREATE:
        return Lack(message=f"{words} The rollout waits until there is room.", recreates=False)
    if fitting + _freed(context, stable, candidate) < needed:
        message = f"{words} The rollout waits, because stopping {context.called(stable)} may not make enough room."
        return Lack(message=message, recreates=False)
    return Lack(message=f"{words} The rollout stops {context.called(stable)} first.", recreates=True)


def _words(context: Context, candidate: WantedRevision, *, needed: int, fitting: int) -> str:
    size, short = _size(candidate), needed - fitting
    each = f"{size.cpu_cores:g} CPU and {_mebibytes(size.memory_bytes)}"
    missing = f"{short * size.cpu_cores:g} CPU and {_mebibytes(short * size.memory_bytes)}"
    return (
        f"{context.called(candidate.revision)} needs room for {needed} replicas of {each} besides what runs, but the "
        f"Ray cluster has room for {fitting}: {missing} are missing."
    )


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:g} MiB"


def _freed(context: Context, stable: str, candidate: WantedRevision) -> int:
    """Each replica that stops makes room for one that is no larger; of a larger one nothing is known."""
    gone, view = context.desired.revisions.get(stable), context.application(stable)
    if gone is None or view is None:
        return 0
    old, new = _size(gone), _size(candidate)
    is_no_larger = new.cpu_cores <= old.cpu_cores and new.memory_bytes <= old.memory_bytes
    return view.running_replicas if is_no_larger else 0


def _size(revision: WantedRevision) -> Size:
    return Size.from_resources(revision.template.serving.resources)
