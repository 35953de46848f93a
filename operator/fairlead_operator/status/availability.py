"""Whether requests are answered now, as the gateways see it: the condition for alerts."""

from __future__ import annotations

from fairlead_operator.api.status import ConditionStatus
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.state.actions import WriteRoute
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import RouteText
from fairlead_operator.status.conditions import Verdict, truth
from fairlead_operator.status.pass_result import PassResult


def available(result: PassResult) -> Verdict:
    """True while every gateway has a ready replica for every request that is not pinned to a revision."""
    observed = result.observed
    if (why := observed.why_gateways_are_unknown) is not None:
        return _unknown(hide_addresses(why))
    if isinstance(observed.route, Unknown):
        return _unknown("The route can't be read.")
    route = observed.route.value if isinstance(observed.route, Known) else _kept_by_gateways(result)
    weights = route.weights() if route is not None else {}
    if route is None or not weights:
        reason = result.plan.reason if result.consequence.answers_nobody else Reason.NOT_SERVING
        return truth(False, reason, "No revision takes requests; they are answered with 503.")
    without = _gateways_without(result, tuple(weights), route.stable)
    if without is None:
        return truth(False, Reason.NO_GATEWAY, "No gateway runs that could answer requests.")
    if not without:
        return truth(True, Reason.AVAILABLE, "Every gateway has a ready replica for every request.")
    return _unanswered(result, without)


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
            f"{gateways}: requests there are answered with 503."
        )
        return truth(False, Reason.REPLICAS_UNREACHABLE, message)
    message = f"{result.called(revision)} has no ready replica at gateway {gateways}: requests are answered with 503."
    return truth(False, Reason.REPLICAS_MISSING, message)
