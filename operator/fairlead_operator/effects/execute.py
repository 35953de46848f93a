"""Action → function. Exhaustive by the type checker; what goes wrong outside comes back as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, assert_never

from fairlead_operator.clients import errors, kubernetes
from fairlead_operator.effects import kubernetes as objects
from fairlead_operator.effects import prove, traffic
from fairlead_operator.state import actions, directory, keys, observed, reasons


class Namespace(Protocol):
    """What the writes to one namespace touch besides the API server."""

    def wrote_route(self, body: Mapping[str, Any]) -> None: ...

    def removed_route(self, name: str, uid: str) -> None: ...

    def note_route_writes(self, writes: observed.RouteWrites) -> None: ...

    def wrote_revision(self, body: Mapping[str, Any]) -> None: ...

    def removed_revision(self, name: str, uid: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """Everything that the effects hold."""

    api: kubernetes.KubernetesClient
    gateways: prove.Gateways
    members: directory.GatewayDirectory
    namespace: Callable[[str], Namespace]
    nudge: Callable[[keys.RayKey], None]


async def execute(plan: actions.Plan, hands: Hands) -> actions.Outcome:
    """Carry out the plan's one action. A failure is an outcome, not an exception: the status has to tell of it."""
    try:
        return await _execute(plan.key, plan.action, hands)
    except errors.Conflict as error:
        return actions.Refused(reason=reasons.Reason.CONFLICT, message=error.cause, retry_after_s=error.retry_after_s)
    except errors.FairleadError as error:
        return actions.Refused(
            reason=reasons.Reason.WRITE_FAILED, message=error.cause, retry_after_s=error.retry_after_s
        )


async def _execute(key: keys.ModelKey, action: actions.Action, hands: Hands) -> actions.Outcome:
    namespace = hands.namespace(key.namespace)
    match action:
        case actions.AddFinalizer() | actions.RemoveFinalizer():
            return await objects.write_finalizers(hands.api, key, action)
        case actions.CreateRevision():
            return await objects.create_revision(hands.api, key, action, namespace)
        case actions.PinDigest():
            return await objects.pin_digest(hands.api, key, action, namespace)
        case actions.DeleteRevision():
            return await objects.delete_revision(hands.api, key, action, namespace)
        case actions.WriteRoute():
            return await traffic.write_route(hands.api, key, action, namespace)
        case actions.RetireRoute() | actions.DeleteRoute():
            return await traffic.retire_route(hands.api, key, action, namespace)
        case actions.Prove():
            return await prove.prove(hands.gateways, key, action, hands.members.members(key.namespace))
        case actions.NudgeServe(cluster=cluster):
            hands.nudge(keys.RayKey(key.namespace, cluster))
            return actions.Done()
        case actions.Wait():
            return actions.Done()
    assert_never(action)


def is_announced(action: actions.Action) -> bool:
    """Whether the write moves traffic or removes something: the next process has to know why.

    The others have the same result when they are repeated by any process.
    """
    match action:
        case actions.WriteRoute():
            return action.moves_traffic
        case actions.RetireRoute() | actions.DeleteRoute() | actions.DeleteRevision() | actions.RemoveFinalizer():
            return True
        case _:
            return False


def is_write(action: actions.Action) -> bool:
    """Whether something outside is asked or changed."""
    return not isinstance(action, actions.Wait | actions.NudgeServe)


def error_of(plan: actions.Plan, refused: actions.Refused) -> errors.FairleadError:
    """What a write that did not happen costs its key: a delay that grows."""
    message = f"{plan.action}: {refused.message}"
    if refused.reason is reasons.Reason.CONFLICT:
        return errors.Conflict(message)
    return errors.RetryLater(message, retry_after_s=refused.retry_after_s)
