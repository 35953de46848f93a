"""What can never run on the workers of a serving class, however many there are: it is refused before it is started.

What only has no room now is another matter: Ray's autoscaler adds workers for it.
"""

from __future__ import annotations

from fairlead_operator.plan.context import Context
from fairlead_operator.state.capacity import Size
from fairlead_operator.state.workers import WorkerLimits

_MIB = 2**20


def find_excess(context: Context, aimed: str) -> str | None:
    """The sentence that names the field and the bound; None where the revision fits, or no class is known."""
    limits, wanted = context.observed.limits, context.desired.revisions[aimed]
    if limits is None or wanted.cluster != context.observed.placement:
        return None
    replica = Size.from_resources(wanted.template.serving.resources, stages=wanted.template.stages)
    each = limits.each_holds(replica)
    called = context.called(aimed)
    if each == 0:
        return f"{called[:1].upper()}{called[1:]} does not fit on a worker: {_larger(replica, limits)}."
    least = context.desired.replicas if context.desired.autoscaling is None else context.desired.autoscaling.least
    if least <= limits.all_hold(replica):
        return None
    replicas, unit = f"{least} replicas ({context.desired.least_field})", ""
    if replica.stages > 1:
        replicas, unit = f"{replicas} of {replica.stages} stages each", " stages"
    return (
        f"{called[:1].upper()}{called[1:]} needs {replicas}, but its Ray cluster "
        f"has room for {limits.all_hold(replica)}: it can have {limits.most} workers (spec.workers.max of ServingClass "
        f"{limits.class_name}), each with room for {each}{unit}."
    )


def _larger(replica: Size, limits: WorkerLimits) -> str:
    parts: list[str] = []
    if replica.cpu_cores > limits.size.cpu_cores:
        parts.append(
            f"a replica needs {replica.cpu_cores:g} CPU (spec.serving.resources.cpu), a worker has "
            f"{limits.size.cpu_cores:g} CPU (spec.worker.cpu of ServingClass {limits.class_name})"
        )
    if replica.memory_bytes > limits.size.memory_bytes:
        parts.append(
            f"a replica needs {replica.memory_bytes / _MIB:g} MiB (spec.serving.resources.memory), a worker has "
            f"{limits.size.memory_bytes / _MIB:g} MiB (spec.worker.memory of ServingClass {limits.class_name})"
        )
    return "; ".join(parts)
