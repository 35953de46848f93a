"""The revision that should be stable in the end: the wished one, unless it failed or was given up."""

from __future__ import annotations

from fairlead_operator.plan.context import Context


def aim(context: Context) -> str | None:
    """None while nothing can be aimed at: at zero replicas nothing could be proved, so what is stays."""
    serving, desired = context.serving, context.desired
    if desired.replicas == 0:
        return serving.stable
    chosen = context.rollback
    if chosen is not None and chosen in desired.revisions and serving.quarantined(chosen) is None:
        return chosen
    if serving.quarantined(desired.target) is None:
        return desired.target
    if serving.stable is not None:
        return serving.stable
    last = serving.last_stable
    if last is not None and last in desired.revisions and serving.quarantined(last) is None:
        return last
    return None
