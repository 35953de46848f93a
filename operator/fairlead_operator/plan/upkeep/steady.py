"""No rollout: the stable revision's route and replicas are kept as they should be, and what is missing is said."""

from __future__ import annotations

from dataclasses import replace

from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.plan import failure, traffic
from fairlead_operator.plan.context import Context
from fairlead_operator.plan.upkeep import zero
from fairlead_operator.state.actions import NudgeServe, Plan, Wait, WriteRoute
from fairlead_operator.state.capacity import Size, describe_missing
from fairlead_operator.state.consequences import consequence_of
from fairlead_operator.state.desired import WantedRevision
from fairlead_operator.state.knowledge import Absent, Unknown
from fairlead_operator.state.load_reasons import Blame, blame_for
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.serve import ApplicationStatus, ApplicationView


def decide(context: Context) -> Plan | None:
    """None when everything is as it should be."""
    serving = context.serving
    if serving.stable is not None and serving.stable not in context.desired.revisions:
        message = (
            f"The ControllerRevision of the stable revision {serving.stable} was deleted. The operator changes nothing."
        )
        return context.wait(Reason.REVISION_LOST, message, requeue_after_s=context.bounds.resync_s)
    stable = context.desired.revisions[serving.stable] if serving.stable is not None else None
    return _unwanted_applications(context) or _look_after(context, stable)


def _look_after(context: Context, stable: WantedRevision | None) -> Plan | None:
    """Replicas need Ray alone, so a gateway that can't be read holds up nothing but the route."""
    if stable is None:
        is_empty = isinstance(context.observed.route, Absent)
        return None if is_empty else traffic.ensure(context, traffic.entry(context))
    entry = traffic.entry(context)
    write = traffic.write(context, entry)
    if write is not None and (isinstance(write.action, WriteRoute) or write.reason is Reason.REVISION_LOST):
        return write
    missing = replicas(context, stable)
    waits = missing or write or traffic.confirm(context, entry) or reached(context, stable)
    return zero.in_hold(context, remember_shortage(context, waits))


def remember_shortage(context: Context, plan: Plan | None) -> Plan | None:
    """The plan with since when replicas are missing: ``Ready`` and ``Available`` tell a scale-up from a loss by it."""
    since = context.serving.short_since
    if plan is None and since is None:
        return None
    if plan is None:
        serving = replace(context.serving, short_since=None)
        return context.announce(serving, Reason.SERVING, "All replicas are ready again.")
    is_dated = since is not None and not context.is_ahead(since)
    is_shortage = consequence_of(plan.reason).is_shortage
    if is_dated or not is_shortage or not isinstance(plan.action, Wait | NudgeServe):
        return plan
    return replace(plan, serving=replace(plan.serving, short_since=context.second))


def reached(context: Context, stable: WantedRevision) -> Plan | None:
    """None while every gateway sees all replicas that Ray runs."""
    wanted = stable.application.replicas if stable.application is not None else 0
    seen = context.observed.up_by_gateway(stable.revision) or {}
    short = {gateway: up for gateway, up in seen.items() if up < wanted}
    if not short:
        return None
    words = ", ".join(f"{up} at gateway {gateway}" for gateway, up in sorted(short.items()))
    message = f"Ray runs {wanted} replicas of {context.called(stable.revision)}, but fewer are ready: {words}."
    return context.wait(Reason.REPLICAS_UNREACHABLE, message)


def replicas(context: Context, stable: WantedRevision) -> Plan | None:
    """None while Ray runs all replicas of what serves."""
    if isinstance(serve := context.serve_of(stable.revision), Unknown):
        return context.wait_for_ray(stable.cluster, serve.reason)
    called = context.called(stable.revision)
    wanted = stable.application
    if wanted is None:
        return None
    view = serve.value.applications.get(wanted.name)
    if view is None:
        message = f"Ray does not run {called}. The operator starts it."
        return _nudge(context, stable.revision, Reason.REPLICAS_LOST, message)
    if not wanted.is_deployed_as(view):
        message = f"Waiting for Ray to accept {wanted.replicas} replicas of {called}."
        return _nudge(context, stable.revision, Reason.SCALING, message)
    if view.status is ApplicationStatus.DEPLOY_FAILED and view.running_replicas == 0:
        failed = failure.read_failure(view.message)
        message = f"Ray gave up {called}. The operator retries it. {failed.reason}: {failed.message}"
        return context.wait(Reason.APPLICATION_UNHEALTHY, message)
    if view.status in (ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOY_FAILED):
        message = f"Ray reports {called} as {view.status}: {view.running_replicas} of {wanted.replicas} replicas run."
        if (stated := failure.find_stated(view.message)) is not None:
            message += f" {_describe(stated)}"
        return context.wait_unknown(Reason.APPLICATION_UNHEALTHY, message)
    if view.running_replicas < wanted.replicas:
        message = (
            f"{view.running_replicas} of {wanted.replicas} replicas of {called} run"
            f"{describe_waiting(context, stable, view)}."
        )
        scales = view.status is ApplicationStatus.DEPLOYING and view.running_replicas > 0
        return context.wait(Reason.SCALING if scales else Reason.REPLICAS_MISSING, message)
    if view.running_replicas > wanted.most:
        return context.wait(Reason.SCALING, f"{called} scales down to {wanted.most} replicas.")
    return None


def _describe(stated: failure.Failure) -> str:
    """With its sentence, unless it is of the environment: that has figures, such as bytes, which differ at each try."""
    return stated.reason if blame_for(stated.reason) is Blame.ENVIRONMENT else f"{stated.reason}: {stated.message}"


def describe_waiting(context: Context, revision: WantedRevision, view: ApplicationView | None) -> str:
    """The part of a sentence that says what replicas without room wait for; empty where none does."""
    if view is None or view.waiting_replicas == 0:
        return ""
    size, workers = Size.from_resources(revision.template.serving.resources), context.workers_of(revision.revision)
    about = workers.describe() if workers is not None else ""
    return f"; {describe_missing(view, size, view.waiting_replicas, workers=about)}"


def _unwanted_applications(context: Context) -> Plan | None:
    """What has no place any more still runs: the Ray cluster's own pass takes it down."""
    placed = {(r.cluster, r.application.name) for r in context.desired.revisions.values() if r.application}
    left = [
        (cluster, view.name)
        for cluster, view in context.observed.applications
        if (cluster, view.name) not in placed and view.status is not ApplicationStatus.DELETING
    ]
    if not left:
        return None
    cluster = left[0][0]
    stopping = ", ".join(name for where, name in left if where == cluster)
    message = f"Waiting for Ray to stop {stopping}.{_because(describe_refusal(context, cluster))}"
    return context.act(NudgeServe(cluster=cluster), Reason.SCALING, one_line(message))


def describe_refusal(context: Context, cluster: str) -> str | None:
    """Why a Ray cluster has not taken the last configuration; None where it has, or none was written."""
    write = context.observed.ray_write.get(cluster)
    return hide_addresses(write.message) if write is not None and not write.is_accepted else None


def _nudge(context: Context, revision: str, reason: Reason, message: str) -> Plan:
    """Has the Ray cluster of a revision looked at, and says why it has not taken the last configuration."""
    cluster = context.cluster_of(revision)
    return context.nudge(revision, reason, one_line(f"{message}{_because(describe_refusal(context, cluster))}"))


def _because(refusal: str | None) -> str:
    return "" if refusal is None else f" The configuration was not accepted: {refusal}"


def rest(context: Context) -> Plan:
    """The plan of a pass with nothing to do."""
    reason, message = _rest(context)
    return context.wait(reason, message, requeue_after_s=context.bounds.resync_s)


def _rest(context: Context) -> tuple[Reason, str]:
    stable, desired = context.serving.stable, context.desired
    if desired.replicas == 0:
        next_one = context.called(desired.target)
        held = "" if stable == desired.target else f" When it is more than 0, {next_one} is rolled out."
        return Reason.SCALED_TO_ZERO, f"Requests are answered with 503, because spec.scaling.replicas is 0.{held}"
    if stable is None:
        return Reason.NOT_SERVING, "No revision serves. Requests are answered with 503."
    if (at_zero := zero.rest(context)) is not None:
        return at_zero
    view = context.application(stable)
    if desired.autoscaling is None or view is None:
        application = desired.revisions[stable].application
        count = application.replicas if application is not None else desired.replicas
        return Reason.SERVING, f"{context.called(stable)} serves with {_count(count)}."
    called, running = context.called(stable), view.running_replicas
    missing = view.target_replicas - running
    if missing > 0 and view.waiting_replicas > 0:
        words = describe_waiting(context, desired.revisions[stable], view)
        return Reason.SCALING_WAITS, f"{called} serves with {running} of {_count(view.target_replicas)}{words}."
    bounds = f"its load decides between {desired.autoscaling.least} and {desired.autoscaling.most}"
    return Reason.SERVING, f"{called} serves with {_count(running)}; {bounds}."


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
