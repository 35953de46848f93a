"""The replicas of what serves: how many there should be, how many there are, and what the others wait for."""

from __future__ import annotations

import datetime

from fairlead_operator.api.revision_status import ScalingStatus
from fairlead_operator.state.capacity import Size, describe_missing
from fairlead_operator.state.desired import Desired, WantedRevision
from fairlead_operator.state.knowledge import Unknown
from fairlead_operator.state.serve import ApplicationView
from fairlead_operator.status.pass_result import PassResult


def describe(result: PassResult) -> ScalingStatus | None:
    """None while nothing should run; as last known while Ray, or the spec, can't be read."""
    revision = result.serving.stable or result.serving.candidate
    if revision is None:
        return None
    if result.desired_if_valid is None or isinstance(result.serve_of(revision), Unknown):
        return result.view.status.scaling
    if (since := result.serving.at_zero_since) is not None:
        return _at_zero(result, result.desired_if_valid, revision, since)
    wanted = result.desired_if_valid.revisions.get(revision)
    if wanted is None or wanted.application is None:
        return None
    view, application = result.application(revision), wanted.application
    desired = result.aimed_replicas(revision)
    running = view.running_replicas if view is not None else 0
    waits = view is not None and running < desired and view.waiting_replicas > 0
    return ScalingStatus(
        desired_replicas=desired,
        replicas=running,
        min_replicas=0 if _may_reach_zero(result, result.desired_if_valid) else application.replicas,
        max_replicas=application.most,
        waiting_since=view.waiting_since if view is not None and waits else None,
        message=_sentence(result, wanted, view, desired=desired, running=running),
    )


def _may_reach_zero(result: PassResult, desired: Desired | None) -> bool:
    zero = desired.scale_to_zero if desired is not None else None
    return zero is not None and not zero.keeps_replicas and result.serving.rollout is None


def _at_zero(result: PassResult, desired: Desired, revision: str, since: datetime.datetime) -> ScalingStatus:
    view = result.application(revision)
    running = view.running_replicas if view is not None else 0
    stopping = f", {_count(running)} {'stops' if running == 1 else 'stop'}" if running else ""
    return ScalingStatus(
        desired_replicas=0,
        replicas=running,
        min_replicas=0,
        max_replicas=desired.autoscaling.most if desired.autoscaling is not None else 0,
        message=f"0 replicas since {since:%Y-%m-%dT%H:%M:%SZ}{stopping}; the next request starts one.",
    )


def _sentence(
    result: PassResult, wanted: WantedRevision, view: ApplicationView | None, *, desired: int, running: int
) -> str:
    if running > desired:
        return f"{_count(running)}; {running - desired} stop."
    if running < desired:
        size = Size.from_resources(wanted.template.serving.resources)
        workers = result.observed.workers.get(wanted.cluster)
        about = workers.describe() if workers is not None else ""
        words = describe_missing(view, size, desired - running, workers=about)
        return f"{running} of {_count(desired)}; {words}."
    is_automatic = result.desired_if_valid is not None and result.desired_if_valid.autoscaling is not None
    application = wanted.application
    if application is not None and application.keeps_more:
        return f"{_count(desired)}, which stay until a revision with a fixed number is stable."
    if application is None or not is_automatic:
        return f"{_count(desired)}, as spec.scaling asks."
    if not wanted.template.is_autoscaled:
        return f"{_count(desired)}. The load does not change it, because the revision was created with a fixed number."
    if desired == application.most:
        return f"{_count(desired)}, which is the maximum."
    zero = result.desired_if_valid.scale_to_zero if result.desired_if_valid is not None else None
    if zero is not None and _may_reach_zero(result, result.desired_if_valid):
        decided = f"the load decides up to {application.most}"
        return f"{_count(desired)}; {decided}, and none is left after {zero.idle_s} s without a request."
    return f"{_count(desired)}; the load decides between {application.replicas} and {application.most}."


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
