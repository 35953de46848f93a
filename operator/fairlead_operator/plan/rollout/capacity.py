"""Before a rollout starts: whether its replicas fit beside those that serve. What is not known holds nothing up."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_operator.api.spec import Strategy
from fairlead_operator.api.strategies import OnInsufficientCapacity
from fairlead_operator.plan.context import Context
from fairlead_operator.state.capacity import NodeRoom, Size
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Known

_STAYS = "The model stays where it is, with {}, and moves once there is room."


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """The surge is known not to fit, and what is done about it."""

    message: str
    recreates: bool


def lack(context: Context, aimed: str) -> Lack | None:
    """None where it fits, where nothing serves that it would stand beside, and where it can't be known.

    On another Ray cluster than the stable revision's all its replicas have to fit before the first one starts: none
    that stops makes room there.
    """
    stable, candidate = context.serving.stable, context.desired.revisions[aimed]
    if stable is None or not isinstance(context.serve_of(aimed), Known):
        return None
    is_move = context.cluster_of(stable) != candidate.cluster
    if context.desired.strategy is Strategy.RECREATE and not is_move:
        return None
    needed = context.desired.replicas if is_move else min(context.desired.replicas, context.desired.surge)
    room = _room(context, stable, candidate)
    if room is None or room >= needed:
        return None
    fitting = max(0, room)
    if is_move:
        words = _words_of_a_move(context, candidate, needed=needed, fitting=fitting)
        return Lack(message=f"{words} {_STAYS.format(context.called(stable))}", recreates=False)
    words = _words(context, candidate, needed=needed, fitting=fitting)
    if (limits := context.observed.limits) is not None and not _is_known(context, candidate):
        words = (
            f"{words} The Ray cluster can have at most {limits.most} workers (spec.workers.max of ServingClass "
            f"{limits.class_name})."
        )
    if context.desired.on_insufficient_capacity is not OnInsufficientCapacity.RECREATE:
        message = (
            f"{words} The rollout waits until there is room. With spec.rollout.onInsufficientCapacity: Recreate it "
            f"stops {context.called(stable)} first."
        )
        return Lack(message=message, recreates=False)
    if fitting + _freed(context, stable, candidate) < needed:
        message = f"{words} The rollout waits, because stopping {context.called(stable)} may not make enough room."
        return Lack(message=message, recreates=False)
    return Lack(message=f"{words} The rollout stops {context.called(stable)} first.", recreates=True)


def _room(context: Context, stable: str, candidate: WantedRevision) -> int | None:
    """How many replicas of the candidate fit beside what runs, or will fit at most once workers were added."""
    free = context.observed.free_on(candidate.cluster)
    if isinstance(free, Known):
        return free.value.fitting(_size(candidate))
    limits, kept = context.observed.limits, context.desired.revisions.get(stable)
    if limits is None or kept is None or {kept.cluster, candidate.cluster} != {context.observed.placement}:
        return None
    view = context.application(stable)
    running = view.running_replicas if view is not None else 0
    old, new = _size(kept), _size(candidate)
    if old == new:
        return limits.all_hold(new) - running
    cpu_cores = limits.most * limits.size.cpu_cores - running * old.stages * old.cpu_cores
    memory_bytes = limits.most * limits.size.memory_bytes - running * old.stages * old.memory_bytes
    whole = NodeRoom(cpu_cores=cpu_cores, memory_bytes=memory_bytes).holds(new) // new.stages
    return min(whole, limits.all_hold(new))


def _is_known(context: Context, candidate: WantedRevision) -> bool:
    return isinstance(context.observed.free_on(candidate.cluster), Known)


def _words(context: Context, candidate: WantedRevision, *, needed: int, fitting: int) -> str:
    more = "1 more replica" if needed == 1 else f"{needed} more replicas"
    called, each = context.called(candidate.revision), _each(candidate, needed)
    return f"{called} needs room for {more} ({each}); the Ray cluster has room for {fitting}."


def _words_of_a_move(context: Context, candidate: WantedRevision, *, needed: int, fitting: int) -> str:
    replicas = "1 replica" if needed == 1 else f"{needed} replicas"
    called, each = context.called(candidate.revision), _each(candidate, needed)
    return f"{called} needs room for {replicas} ({each}); Ray cluster {candidate.cluster} has room for {fitting}."


def _each(candidate: WantedRevision, needed: int) -> str:
    size = _size(candidate)
    room = f"{size.cpu_cores:g} CPU, {size.memory_bytes / 2**20:g} MiB"
    if size.stages > 1:
        return f"{room} for each of {size.stages} stages"
    return f"{room}{' each' if needed > 1 else ''}"


def _freed(context: Context, stable: str, candidate: WantedRevision) -> int:
    """Each replica that stops makes room for one with no more and no larger stages; of others nothing is known."""
    gone, view = context.desired.revisions.get(stable), context.application(stable)
    if gone is None or view is None:
        return 0
    old, new = _size(gone), _size(candidate)
    is_no_larger = new.cpu_cores <= old.cpu_cores and new.memory_bytes <= old.memory_bytes and new.stages <= old.stages
    return view.running_replicas if is_no_larger else 0


def _size(revision: WantedRevision) -> Size:
    return Size.from_resources(revision.template.serving.resources, stages=revision.template.stages)
