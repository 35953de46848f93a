"""Whether requests are answered now, as the gateways see it: the condition for alerts."""

from __future__ import annotations

from fairlead_operator.api.status import ConditionStatus
from fairlead_operator.state import unread
from fairlead_operator.state.actions import WriteRoute
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText
from fairlead_operator.state.serve import ApplicationStatus
from fairlead_operator.state.time import elapsed_s
from fairlead_operator.status.conditions import CHECK_NETWORK, Verdict, truth
from fairlead_operator.status.pass_result import PassResult

_STAYS_AT_ZERO = frozenset({Reason.INVALID_SPEC, Reason.STATUS_UNREADABLE, Reason.REVISION_LOST})
"""Why no request starts a replica of a model at zero: nothing is changed until a person acts."""


def available(result: PassResult) -> Verdict:
    """True while every gateway has a ready replica for every request that is not pinned to a revision."""
    observed = result.observed
    if (why := observed.why_gateways_are_unknown) is not None:
        return _unknown(why)
    if isinstance(observed.route, Unknown):
        return _unknown(unread.describe_route(observed.key.name, observed.route.reason))
    route = observed.route.value if isinstance(observed.route, Known) else _kept_by_gateways(result)
    weights = route.weights() if route is not None else {}
    if route is None or not weights:
        reason = result.plan.reason if result.consequence.answers_nobody else Reason.NOT_SERVING
        return truth(False, reason, "No revision takes requests. Gateways answer them with 503.")
    without = _gateways_without(result, tuple(weights), route.stable)
    if without is None:
        return truth(False, Reason.NO_GATEWAY, "No gateway is running, so nothing answers requests.")
    if not without:
        return truth(True, Reason.AVAILABLE, "Every gateway has a ready replica for every request.")
    if result.serving.at_zero_since is not None and result.plan.reason in _STAYS_AT_ZERO:
        message = "No replica runs, and none will be started until the problem is fixed. Requests wait, then get 503."
        return truth(False, result.plan.reason, message)
    if result.serving.at_zero_since is not None or result.plan.reason is Reason.SCALING_FROM_ZERO:
        reason = Reason.AT_ZERO if result.serving.at_zero_since is not None else Reason.SCALING_FROM_ZERO
        return truth(True, reason, "Gateways hold requests until the first replica is ready.")
    if _is_held(result, route, without):
        return truth(True, Reason.SCALING_FROM_ZERO, "Gateways hold requests until the first replica is ready.")
    return _unanswered(result, without)


def _is_held(result: PassResult, route: RouteText, without: dict[str, str]) -> bool:
    """Whether what has no replica is the stable revision, and no request has waited for its whole time yet."""
    hold, since = route.hold, result.serving.short_since
    if hold is None or since is None or route.stable is None or set(without.values()) != {route.stable}:
        return False
    view = result.application(route.stable)
    if view is not None and view.status in (ApplicationStatus.UNHEALTHY, ApplicationStatus.DEPLOY_FAILED):
        return False
    return elapsed_s(since, result.now) <= hold.seconds


def _kept_by_gateways(result: PassResult) -> RouteText | None:
    """The route that the pass writes again, where somebody deleted the object: gateways go on with what they had."""
    action, gateways = result.plan.action, result.observed.gateways
    if not isinstance(action, WriteRoute) or not isinstance(gateways, Known):
        return None
    lives = [view.routes.get(result.observed.key.name) for view in gateways.value.ready or ()]
    is_kept = all(live is not None and live.version == action.entry.version for live in lives)
    return RouteText(text=action.entry.to_json()) if lives and is_kept else None


def _unknown(message: str) -> Verdict:
    return Verdict(status=ConditionStatus.UNKNOWN, reason=Reason.GATEWAY_UNREACHABLE, message=message)


def _gateways_without(result: PassResult, taking: tuple[str, ...], stable: str | None) -> dict[str, str] | None:
    """By gateway the revision with traffic that has no ready replica there; None where there is no gateway.

    Requests for a candidate without a ready replica are answered by the revision that is stable in the route.
    """
    fallback = result.observed.up_by_gateway(stable) if stable is not None else {}
    without: dict[str, str] = {}
    for revision in taking:
        seen = result.observed.up_by_gateway(revision)
        if seen is None:
            return None
        for gateway, up in seen.items():
            if up == 0 and not (revision != stable and (fallback or {}).get(gateway)):
                without[gateway] = revision
    return without


def _unanswered(result: PassResult, without: dict[str, str]) -> Verdict:
    revision = next(iter(without.values()))
    view = result.application(revision)
    gateways = ", ".join(sorted(without))
    if view is not None and view.running_replicas > 0:
        message = (
            f"Ray runs {view.running_replicas} replicas of {result.called(revision)}, but none is ready at gateway "
            f"{gateways}: requests there get 503. {CHECK_NETWORK}"
        )
        return truth(False, Reason.REPLICAS_UNREACHABLE, message)
    message = f"{result.called(revision)} has no ready replica at gateway {gateways}: requests there get 503."
    return truth(False, Reason.REPLICAS_MISSING, message)
