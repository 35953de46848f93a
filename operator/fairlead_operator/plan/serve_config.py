"""Whether the Serve config of a Ray cluster is written: GET, compare, and only then PUT.

Source: shared traps of ``PUT /api/serve/applications/``: it replaces everything, and an empty GET proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import assert_never

from fairlead_operator.state import json_text
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.serve import (
    ApplicationConfig,
    ApplicationStatus,
    ApplicationView,
    EmptyServe,
    Hold,
    Keep,
    Put,
    RayObserved,
    ServeConfig,
    ServeDecision,
    ServeView,
)

EMPTY_READS = 3
"""A new head, or one that never had a Serve controller, has to say so this often in a row."""
EMPTY_S = 60.0
"""A head that had a controller has to say for this long that it has none: Ray's own lookup of it may fail as long."""
EMPTY_KEPT_S = 600.0
"""The same while an application must be kept that can't be composed: a PUT would delete it for good."""


def decide(wanted: ServeConfig, observed: RayObserved, bounds: Bounds) -> ServeDecision:
    """PUTs only what differs, and never on an answer that proves nothing."""
    match observed.evidence:
        case Unknown(reason=reason):
            return Hold(reason=f"the Ray cluster can't be read: {reason}", requeue_after_s=bounds.unknown_s)
        case EmptyServe() as empty:
            return _from_nothing(wanted, empty, bounds)
        case Known(value=view):
            return _compare(wanted, view, bounds)
        case _ as never:
            assert_never(never)


def _from_nothing(wanted: ServeConfig, empty: EmptyServe, bounds: Bounds) -> ServeDecision:
    if not wanted.has_models:
        return Keep(reason="Serve doesn't run, and no model needs it")
    if (doubt := _find_doubt(wanted, empty)) is not None:
        reason = f"Ray shows no Serve controller, which proves nothing yet ({doubt})"
        return Hold(reason=reason, requeue_after_s=bounds.poll_s)
    changes = tuple(f"start {config.name}" for config in wanted.applications) or ("start Serve with no application",)
    return Put(body=_body([config.body for config in wanted.applications]), changes=changes)


def _find_doubt(wanted: ServeConfig, empty: EmptyServe) -> str | None:
    """Why an empty answer doesn't yet prove that nothing runs."""
    if empty.consecutive_reads < EMPTY_READS:
        return f"read {empty.consecutive_reads} of {EMPTY_READS}"
    if empty.is_new_head:
        return None
    if wanted.kept and empty.seconds < EMPTY_KEPT_S:
        return f"{', '.join(wanted.kept)} may still run, and can't be composed again"
    if empty.last_session is not None and empty.seconds < EMPTY_S:
        return f"the same head had one {empty.seconds:.0f} s ago"
    return None


def _compare(wanted: ServeConfig, view: ServeView, bounds: Bounds) -> ServeDecision:
    desired = {config.name: _with_what_runs(config, view) for config in wanted.applications}
    carried: list[Mapping[str, object]] = []
    changes = _changes(desired, view)
    for name, application in sorted(view.applications.items()):
        if name in desired or not application.declarative or application.status is ApplicationStatus.DELETING:
            continue
        if is_ours(name, wanted.namespace, application.config) and name not in wanted.kept:
            changes.append(f"stop {name}")
        elif application.config is None:
            reason = (
                f"application {name} on the same Ray cluster is not Fairlead's, and Ray does not show its "
                "configuration, so that a write would delete it. Deploy it again with a configuration, or delete it."
            )
            return Hold(reason=reason, requeue_after_s=bounds.resync_s)
        else:
            carried.append(application.config)
    if not changes:
        return Keep(reason="it is deployed as desired")
    bodies = [config.body for config in desired.values()] + carried
    return Put(body=_body(bodies), changes=tuple(changes))


def _with_what_runs(config: ApplicationConfig, view: ServeView) -> ApplicationConfig:
    """The status may not say yet what Ray's scaling did last, or that replicas of an earlier attempt run after all."""
    deployed = view.applications.get(config.name)
    if deployed is None:
        return config
    return config.at_least(max(deployed.target_replicas, deployed.running_replicas)).as_it_runs(deployed)


def _changes(desired: Mapping[str, ApplicationConfig], view: ServeView) -> list[str]:
    changes = []
    for name, config in sorted(desired.items()):
        deployed = view.applications.get(name)
        if deployed is None or deployed.status is ApplicationStatus.DELETING:
            changes.append(f"start {name}")
        elif not config.is_deployed_as(deployed):
            changes.append(f"change {name}{_how(config, deployed)}")
    return changes


def _how(config: ApplicationConfig, deployed: ApplicationView) -> str:
    if config.replicas <= deployed.target_replicas <= config.most:
        return ""
    aimed = f"{config.replicas}" if config.replicas_max is None else f"{config.replicas} to {config.replicas_max}"
    return f" from {deployed.target_replicas} to {aimed} replicas"


def is_ours(name: str, namespace: str, config: Mapping[str, object] | None) -> bool:
    """Whether an application is a revision of this namespace: by the form of its name and by its own configuration.

    The name alone does not decide: ``a--b--c`` is the model ``b--c`` of ``a``, or the model ``c`` of ``a--b``.
    """
    if re.fullmatch(rf"{re.escape(namespace)}--[a-z]([-a-z0-9]*[a-z0-9])?--[0-9a-f]{{10}}", name) is None:
        return False
    found: object = json_text.plain(config) if config is not None else None
    for part in ("args", "config", "namespace"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found is None or found == namespace


def _body(applications: list[Mapping[str, object]]) -> bytes:
    ordered = sorted(map(json_text.plain, applications), key=lambda body: str(body.get("name")))
    return json_text.canonical_json({"proxy_location": "Disabled", "applications": ordered})
