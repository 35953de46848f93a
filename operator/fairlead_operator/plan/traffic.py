"""The route entry that should hold now, and the rule for writing it: no weight without a ready replica seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from fairlead_operator.api.text import hide_addresses, one_line
from fairlead_operator.plan.context import Context
from fairlead_operator.state import unread
from fairlead_operator.state.actions import Plan, WriteRoute
from fairlead_operator.state.gateways import SILENT_MAX_S, Confirmation, MemberState
from fairlead_operator.state.knowledge import Absent, Known, Unknown
from fairlead_operator.state.phases import Place
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import BY_WEIGHT, FULL_WEIGHT, Hold, RouteEntry, RouteRevision, RouteText, Routing
from fairlead_operator.state.time import elapsed_s


def entry(context: Context) -> RouteEntry:
    """The entry for what the status remembers; revisions whose ControllerRevision is gone are left out."""
    stable, candidate, leaving = (context.serving.routed_at(place) for place in Place)
    if context.desired.replicas == 0 and candidate is None:
        # Nobody shall answer, so nothing is given back to a revision that may never run again; its requests end.
        return _build(context, stable=None, candidate=None, drain=[leaving, stable] if leaving is not None else [])
    return _build(context, stable=_kept(context, stable), candidate=_kept(context, candidate), drain=[leaving])


def _find_lost(context: Context) -> str | None:
    """A revision that should take requests, and whose ControllerRevision is gone: its requests must not end in 503."""
    serving = context.serving
    if context.desired.replicas == 0 and serving.candidate is None:
        return None
    places = (serving.routed_at(place) for place in (Place.STABLE, Place.CANDIDATE))
    needed = (revision for revision in places if revision is not None)
    return next((context.called(r) for r in needed if r not in context.desired.revisions), None)


def _kept(context: Context, revision: str | None) -> str | None:
    return revision if revision in context.desired.revisions else None


def _build(context: Context, *, stable: str | None, candidate: str | None, drain: Sequence[str | None]) -> RouteEntry:
    listed = [r for r in (stable, candidate, *(_kept(context, each) for each in drain)) if r is not None]
    # Where nothing serves, the limits are the spec's: a request is answered with 503 and Retry-After, not with 413.
    serving = [context.desired.revisions[r].template.serving for r in listed] or [context.desired.template.serving]
    return RouteEntry(
        stable=stable,
        candidate=candidate,
        candidate_weight=_weight(context) if candidate is not None else 0,
        revisions=_routes(context, listed),
        max_request_bytes=max(s.max_request_bytes for s in serving),
        request_timeout_s=max(s.request_timeout_seconds for s in serving),
        routing=_routing(context) if stable is not None and candidate is not None else BY_WEIGHT,
        hold=hold(context, stable) if stable is not None else None,
    )


def hold(context: Context, stable: str) -> Hold | None:
    """As many requests as a replica takes at once wait for the first one; it gets so many at a time as it runs."""
    zero, serving = context.desired.scale_to_zero, context.desired.revisions[stable].template.serving
    if zero is None:
        return _last_hold(context, stable)
    return Hold(
        requests=serving.max_ongoing_requests + serving.max_queued_requests,
        seconds=zero.hold_s,
        parallel=serving.max_ongoing_requests,
        idle_s=zero.idle_s,
    )


def _last_hold(context: Context, stable: str) -> Hold | None:
    """What a model keeps that left zero for good, until its first replica is ready: its requests wait for that.

    A replica that does not come in the time for a rollout's progress is waited for no more.
    """
    written, since = context.observed.route, context.serving.short_since
    if not isinstance(written, Known) or context.desired.replicas == 0 or context.fewest_up(stable):
        return None
    if since is not None and elapsed_s(since, context.now) > context.desired.progress_deadline_s:
        return None
    return written.value.hold


def _weight(context: Context) -> int:
    rollout = context.serving.rollout
    if rollout is None:
        return 0
    return FULL_WEIGHT if is_covered(context) else rollout.weight


def is_covered(context: Context) -> bool:
    """Whether the candidate takes all requests, as the stable revision has had no ready replica for long enough."""
    rollout = context.serving.rollout
    if rollout is None or not context.serving.rules.moves_traffic or rollout.stable_lost_at is None:
        return False
    return elapsed_s(rollout.stable_lost_at, context.now) >= context.bounds.lost_s


def _routing(context: Context) -> Routing:
    """Nobody meets a candidate that is not proved, and a way back is for everybody at once."""
    is_compared = context.serving.rules.moves_traffic and not context.is_way_back
    return context.desired.routing if is_compared else BY_WEIGHT


def _routes(context: Context, listed: list[str]) -> dict[str, RouteRevision]:
    """An alias that two revisions bear goes to the one named first: stable, candidate, leaving."""
    routes: dict[str, RouteRevision] = {}
    taken: set[str] = set()
    for revision in listed:
        route = context.desired.revisions[revision].route
        aliases = tuple(alias for alias in route.aliases if alias not in taken)
        taken.update(aliases)
        routes[revision] = RouteRevision(cluster=route.cluster, aliases=aliases)
    return routes


def ensure(context: Context, wanted: RouteEntry, *, is_last_resort: bool = False) -> Plan | None:
    """Writes the entry or waits until every gateway confirms it; None once all have it."""
    return write(context, wanted, is_last_resort=is_last_resort) or confirm(context, wanted)


def write(context: Context, wanted: RouteEntry, *, is_last_resort: bool = False) -> Plan | None:
    """None while the table holds the entry.

    A revision without a ready replica gets no more traffic, unless that is the only way on (``is_last_resort``), and
    nothing is written while a revision that should be in it can't be read.
    """
    if (lost := _find_lost(context)) is not None:
        message = f"The ControllerRevision of {lost} was deleted. The route and the replicas stay unchanged."
        return context.wait(Reason.REVISION_LOST, message, requeue_after_s=context.bounds.resync_s)
    match context.observed.route:
        case Unknown(reason=reason):
            return context.wait_for_gateways(unread.describe_route(context.observed.key.name, reason))
        case Known(value=text) if text.holds(wanted):
            return None
        case Known(value=text):
            return _write(context, wanted, before=text, is_last_resort=is_last_resort)
        case Absent():
            return _write(context, wanted, before=None, is_last_resort=is_last_resort)
        case _ as never:
            assert_never(never)


def _write(context: Context, wanted: RouteEntry, *, before: RouteText | None, is_last_resort: bool) -> Plan:
    for revision in (wanted.stable, wanted.candidate) if not is_last_resort else ():
        is_held = context.serving.at_zero_since is not None and revision == wanted.stable and wanted.hold is not None
        if revision is None or is_held or not _gains(wanted, revision, before):
            continue
        if not context.is_seen_ready(revision) and not _is_seen_for_return(context, revision):
            return _no_replica(context, revision)
    return context.act(
        WriteRoute(entry=wanted, owner_uid=context.desired.uid, is_first=before is None),
        context.serving.rules.reason,
        f"Updating the traffic: {describe(context, wanted)}.",
    )


def _is_seen_for_return(context: Context, revision: str) -> bool:
    """Whether a withdrawal may give the traffic back: every gateway that can be read sees a ready replica."""
    is_return = context.serving.rules.gives_back and revision == context.serving.stable
    return is_return and context.fewest_seen_up(revision) > 0


def _gains(wanted: RouteEntry, revision: str, before: RouteText | None) -> bool:
    """Whether requests reach the revision that did not before."""
    if wanted.weight_of(revision) > (before.weights().get(revision, 0) if before is not None else 0):
        return True
    is_matched = revision == wanted.candidate and bool(wanted.routing.matches)
    return is_matched and (before is None or not before.is_matched(revision))


def _no_replica(context: Context, revision: str) -> Plan:
    called = context.called(revision)
    if context.serving.rules.gives_back and revision == context.serving.stable:
        message = (
            f"Traffic cannot return to {called}: it has no ready replica. The operator restarts it; until then traffic "
            "stays unchanged."
        )
        return context.wait(Reason.ROLLBACK_BLOCKED, message)
    message = f"{called} gets no more traffic yet: it has no ready replica."
    return context.wait(context.serving.rules.reason, message)


def confirm(context: Context, wanted: RouteEntry) -> Plan | None:
    """None once every gateway says that it has the entry."""
    match context.observed.gateways:
        case Unknown(reason=reason):
            return context.wait_for_gateways(unread.describe_gateways(reason))
        case Known(value=gateways) if any(member.state is MemberState.READY for member in gateways.members):
            return _unconfirmed(context, wanted, gateways.confirmation(lambda view: context.has_entry(view, wanted)))
        case Known() | Absent():
            return context.wait_unknown(Reason.NO_GATEWAY, "No gateway is running.")
        case _ as never:
            assert_never(never)


def _unconfirmed(context: Context, wanted: RouteEntry, confirmation: Confirmation) -> Plan | None:
    """A gateway that refuses the route says why; one that can't be read may still route the old way."""
    if confirmation.is_complete:
        return None
    for member in confirmation.missing:
        if (refusal := member.refusal(context.observed.key.name)) is not None:
            message = f"Gateway {member.called} refuses the route: {refusal}"
            return context.wait_unknown(Reason.ROUTE_REFUSED, one_line(message))
    for member in confirmation.unread:
        if isinstance(member.view, Unknown):
            if member.state is MemberState.READY:
                return _unread(context, member.name, member.view.reason, confirmation)
            message = (
                f"Gateway {member.name} is terminating or not ready, and cannot be read: "
                f"{hide_addresses(member.view.reason)}. The operator waits for it up to {SILENT_MAX_S:g} s, because it "
                "may still handle requests."
            )
            return context.wait_unknown(Reason.GATEWAY_UNREACHABLE, message)
    missing = ", ".join(sorted(member.called for member in confirmation.missing))
    return context.wait(
        context.serving.rules.reason, f"Waiting for gateway {missing} to apply the route: {describe(context, wanted)}."
    )


def _unread(context: Context, name: str, why: str, confirmation: Confirmation) -> Plan:
    """A withdrawal says where it is done: the clients of those gateways are safe."""
    leaving, done = context.serving.leaving, sorted(member.called for member in confirmation.confirmed)
    if not context.serving.rules.gives_back or leaving is None or not done:
        return context.wait_for_gateways(unread.describe_gateway(name, why))
    message = (
        f"{context.called(leaving)} is withdrawn at gateway {', '.join(done)}; waiting for gateway {name}, which "
        f"cannot be read: {hide_addresses(why).rstrip('.')}."
    )
    return context.wait_unknown(Reason.GATEWAY_UNREACHABLE, one_line(message))


def describe(context: Context, wanted: RouteEntry) -> str:
    """The shares in words."""
    if wanted.stable is None and not wanted.candidate_weight:
        return "no revision takes unpinned requests"
    shares = [(r, wanted.weight_of(r)) for r in (wanted.stable, wanted.candidate) if r is not None]
    parts = [f"{context.called(r)} gets {weight * 100 / FULL_WEIGHT:g} %" for r, weight in shares]
    if wanted.routing.matches:
        parts.append(f"{len(wanted.routing.matches)} match rules send requests to the candidate")
    if wanted.routing.shadow:
        copied = f"{wanted.routing.shadow * 100 / FULL_WEIGHT:g} %"
        parts.append(f"{copied} of the stable revision's requests are copied to the candidate")
    return ", ".join(parts)
