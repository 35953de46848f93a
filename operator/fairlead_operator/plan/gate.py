"""What has to be there at all before a model can be served."""

from __future__ import annotations

from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.knowledge import Absent
from fairlead_operator.state.reasons import Reason


def decide(context: Context) -> Plan | None:
    """Waits for a person where the operator's own configuration lacks something."""
    namespace = context.observed.key.namespace
    if isinstance(context.observed.serve, Absent):
        message = f"The operator was given no Ray cluster for namespace {namespace}."
        return context.wait(Reason.NO_RAY_CLUSTER, message, requeue_after_s=context.bounds.resync_s)
    if isinstance(context.observed.gateways, Absent):
        message = f"The operator was given no gateway for namespace {namespace}."
        return context.wait(Reason.NO_GATEWAY, message, requeue_after_s=context.bounds.resync_s)
    return None
