"""What the gateways need to know of one revision."""

from __future__ import annotations

from fairlead_operator.state.observed import RevisionView
from fairlead_operator.state.route import RouteRevision


def route_revision(revision: RevisionView) -> RouteRevision:
    """The Ray cluster that it runs on, and the names it answers to."""
    version = revision.template.model.version
    return RouteRevision(cluster=revision.cluster, aliases=(str(revision.number), *((version,) if version else ())))
