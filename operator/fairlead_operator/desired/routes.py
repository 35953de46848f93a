"""What the gateways are told of one revision."""

from __future__ import annotations

from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.observed import RevisionView
from fairlead_operator.state.route import RouteRevision


def route_revision(revision: RevisionView, replicas: int, bounds: Bounds) -> RouteRevision:
    """Where its replicas listen, how many ports are worth checking, and the names it answers to."""
    version = revision.template.model.version
    return RouteRevision(
        host=bounds.replica_host,
        first=revision.ports.first,
        count=revision.ports.count,
        window=window(replicas, revision.ports.count),
        aliases=(str(revision.number), *((version,) if version else ())),
    )


def window(replicas: int, count: int) -> int:
    """Ports to check: twice the wished replicas plus two (a restart binds beside what still drains), at most all."""
    return min(count, 2 * replicas + 2)
