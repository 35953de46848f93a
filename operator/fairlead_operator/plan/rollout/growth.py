"""A rollout of a model that scales with its load: the number that it works with grows before more traffic moves.

It begins with what the stable revision had then. A rollout that pauses for hours goes on under another load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fairlead_operator.api.status import Rollout
from fairlead_operator.plan.context import Context
from fairlead_operator.state.actions import Plan
from fairlead_operator.state.desired import Batch
from fairlead_operator.state.knowledge import Known
from fairlead_operator.state.reasons import Reason
from fairlead_operator.state.route import FULL_WEIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The replicas of a revision: the ``least`` that Ray may run, and what it runs or aims at ``now``."""

    least: int
    now: int


def total(stable: Present, candidate: Present, weight: int) -> int:
    """Replicas that all traffic needs, while the candidate's share is ``weight`` (below ``FULL_WEIGHT``).

    The revision with the larger share shows it best, where its load asks for more than its least. What was counted
    once is in the least of both, so the same load is not counted again.
    """
    share, shows = (weight, candidate) if 2 * weight >= FULL_WEIGHT else (FULL_WEIGHT - weight, stable)
    counted = math.ceil(shows.now * FULL_WEIGHT / share) if shows.now > shows.least else 0
    return max(stable.now, counted)


def grow(context: Context, rollout: Rollout) -> Plan | None:
    """Remembers the larger number before the candidate's weight rises; None where the one it has is enough.

    Batches divide the number that they began with.
    """
    automatic, route = context.desired.autoscaling, context.observed.route
    stable, candidate = context.serving.stable, context.serving.candidate
    if automatic is None or stable is None or candidate is None or not isinstance(route, Known):
        return None
    weight = route.value.weights().get(candidate, 0)
    if weight >= rollout.weight or isinstance(context.step_of(rollout), Batch):
        return None
    needed = automatic.bounded(total(_present(context, stable), _present(context, candidate), weight))
    if needed <= context.desired.replicas:
        return None
    share = math.ceil(needed * rollout.weight / FULL_WEIGHT)
    grown = replace(
        rollout,
        scaled_replicas=needed,
        replicas=max(rollout.replicas, share) if rollout.replicas is not None else None,
        progress_s=0,
        progress_at=context.second,
    )
    message = (
        f"The load needs {needed} replicas, more than the {context.desired.replicas} that the rollout worked with. "
        f"{context.called(candidate)} gets its share of them before more traffic."
    )
    return context.announce(replace(context.serving, rollout=grown), Reason.SHIFTING, message)


def _present(context: Context, revision: str) -> Present:
    """As Ray reports it, whichever bounds it has taken; as last known while it can't be read."""
    wanted, serve = context.desired.revisions.get(revision), context.serve_of(revision)
    application = wanted.application if wanted is not None else None
    least = application.replicas if application is not None else 0
    if application is not None and isinstance(serve, Known):
        view = serve.value.applications.get(application.name)
        now = max(view.target_replicas, view.running_replicas) if view is not None else 0
        return Present(least=least, now=now)
    rows = context.observed.object.value.status.revisions if isinstance(context.observed.object, Known) else ()
    return Present(least=least, now=next((row.wanted_replicas for row in rows if row.name == revision), 0))
