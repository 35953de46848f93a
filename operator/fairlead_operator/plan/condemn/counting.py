"""Which gateways an analysis counts in a pass: those that can be read and have the route that is written.

A revision is proved worse by those alone where they have enough requests. It is proved within its limits, and a step
ends, only by all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fairlead_operator.api.counts import GATEWAYS_MAX
from fairlead_operator.api.text import hide_addresses
from fairlead_operator.plan.context import Context
from fairlead_operator.state.gateways import GatewaySeen, MemberState
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.measurements import GatewayReading, Readings


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A gateway that is not counted; ``has_route`` where only its counters could not be read."""

    name: str
    why: str
    has_route: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The counters of the gateways that count, and those that are left out."""

    readings: tuple[GatewayReading, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def is_confirmed(self) -> bool:
        """Whether every gateway is known to have the route."""
        return all(gateway.has_route for gateway in self.left_out)

    @property
    def names_left_out(self) -> frozenset[str]:
        return frozenset(gateway.name for gateway in self.left_out)

    def describe_left_out(self) -> str:
        """Why the first of them is not counted."""
        first = min(self.left_out, key=lambda gateway: gateway.name)
        return f"gateway {first.name}: {first.why}"

    def describe(self) -> str:
        """At how many gateways a result was counted."""
        number = len(self.readings)
        return f"counted at {min(number, GATEWAYS_MAX)} of {number + len(self.left_out)} gateways"


def find(context: Context) -> Counted | None:
    """None while nothing may be counted: the route compares other revisions, or a gateway is about to take it."""
    gateways, measured = context.observed.gateways, context.observed.measured
    if not isinstance(gateways, Known) or measured is None or not isinstance(measured.gateways, Known):
        return None
    ready = [member for member in gateways.value.members if member.state is MemberState.READY]
    version = _find_version(context)
    if not ready or version is None or any(_is_settling(context, member, version) for member in ready):
        return None
    readings = measured.gateways.value
    left_out = tuple(_left_out(context, ready, readings, version))
    names = {member.name for member in ready} - {gateway.name for gateway in left_out}
    return Counted(readings=tuple(r for r in readings.read if r.gateway in names), left_out=left_out)


def why_unread(context: Context) -> str | None:
    """Why the counters of a gateway, or all, could not be had; None where they could."""
    measured, counted = context.observed.measured, find(context)
    if measured is None:
        return "they were not read"
    if isinstance(measured.gateways, Unknown):
        return measured.gateways.reason
    if counted is None:
        return "no gateway is counted yet"
    return counted.describe_left_out() if counted.left_out else None


def _find_version(context: Context) -> str | None:
    """The version of the written route, where the revision that is measured takes requests by it."""
    route, serving = context.observed.route, context.serving
    if not isinstance(route, Known) or route.value.stable != serving.stable:
        return None
    return route.value.version if route.value.candidate == serving.candidate else None


def _is_settling(context: Context, member: GatewaySeen, version: str) -> bool:
    """Whether a gateway that can be read has not taken the route yet, and may still do so in a moment."""
    rollout = context.serving.rollout
    if rollout is None or isinstance(member.view, Unknown) or _has(context, member, version):
        return False
    is_refused = member.refusal(context.observed.key.name) is not None
    return not is_refused and context.since_step_s(rollout) < context.bounds.lost_s


def _has(context: Context, member: GatewaySeen, version: str) -> bool:
    route = member.view.value.routes.get(context.observed.key.name) if isinstance(member.view, Known) else None
    return route is not None and route.version == version


def _left_out(context: Context, ready: list[GatewaySeen], readings: Readings, version: str) -> Iterator[LeftOut]:
    read = {reading.gateway for reading in readings.read}
    for member in ready:
        if isinstance(member.view, Unknown):
            yield LeftOut(name=member.name, why=hide_addresses(member.view.reason), has_route=False)
        elif not _has(context, member, version):
            yield LeftOut(name=member.name, why="it does not have the route yet", has_route=False)
        elif member.name not in read:
            why = readings.unread.get(member.name, "its counters were not read")
            yield LeftOut(name=member.name, why=why, has_route=True)
