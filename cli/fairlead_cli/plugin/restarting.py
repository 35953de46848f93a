"""`kubectl fairlead restart`: the revision that serves, rolled out once more as a new one."""

from __future__ import annotations

import datetime

from fairlead_cli.plugin import cluster, errors, model_view, writing


def restart(found: cluster.Cluster, name: str) -> None:
    """Write the current time into `spec.serving.restartedAt`, of the object as it was read.

    Raises:
        errors.PluginError: the spec does not ask for the revision that serves, so something else would be started; or
            the object changed at each attempt.
    """

    def attempt(model: model_view.Model) -> None:
        _require_only_the_stable_revision(model)
        found.restart(name, datetime.datetime.now(datetime.UTC), resource_version=model.resource_version)

    writing.write(found, name, attempt, what="restart")


def _require_only_the_stable_revision(model: model_view.Model) -> None:
    stable, candidate = model.status.stable_revision, model.status.candidate_revision
    if candidate is not None:
        raise errors.PluginError(
            f"{model.name} has a rollout in progress, of {model.describe_revision(candidate)}. Wait for its end, or run"
            f" `kubectl fairlead abort {model.name}`."
        )
    if stable is None:
        raise errors.PluginError(f"{model.name} has no stable revision, so there is nothing to restart.")
    if stable != model.desired:
        raise errors.PluginError(
            f"The spec of {model.name} does not ask for {model.describe_revision(stable)}, which serves, and a restart"
            f" would start what it asks for. Apply the spec of the revision that serves, or run"
            f" `kubectl fairlead retry {model.name}` to start what the spec asks for."
        )
