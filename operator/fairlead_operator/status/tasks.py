"""What the operator tried to do in a pass, in words for the condition that says it failed."""

from __future__ import annotations

from typing import assert_never

from fairlead_operator.state import actions
from fairlead_operator.status.pass_result import PassResult

_OfRevision = actions.CreateRevision | actions.PinDigest | actions.DeleteRevision | actions.Prove


def describe(result: PassResult) -> str:
    """The action of the pass as the part of a sentence after "to"."""
    name = result.view.name
    match result.plan.action:
        case actions.AddFinalizer():
            return f"add the finalizer to ModelDeployment {name}"
        case actions.RemoveFinalizer():
            return f"remove the finalizer from ModelDeployment {name}"
        case actions.WriteRoute():
            return f"update ModelRoute {name}"
        case actions.RetireRoute():
            return f"mark ModelRoute {name} as retired"
        case actions.DeleteRoute():
            return f"delete ModelRoute {name}"
        case actions.NudgeServe(cluster=cluster):
            return f"update Ray cluster {cluster}"
        case actions.Wait():
            return "continue"
        case action:
            return _describe_of_revision(result, action)


def _describe_of_revision(result: PassResult, action: _OfRevision) -> str:
    called = f"revision {action.number}" if isinstance(action, actions.CreateRevision) else ""
    called = called or result.called(action.revision)
    match action:
        case actions.CreateRevision():
            return f"create the ControllerRevision of {called}"
        case actions.PinDigest():
            return f"record the digest of {called} in its ControllerRevision"
        case actions.DeleteRevision():
            return f"delete the ControllerRevision of {called}"
        case actions.Prove():
            return f"send the test prediction to {called}"
    assert_never(action)
