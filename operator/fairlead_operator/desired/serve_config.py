"""The wanted Serve config of a Ray cluster, composed from all its ModelDeployments.

Source: docs/contracts.md, "Operator → Ray: the Serve config".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_operator.api import names
from fairlead_operator.api.monitoring import Monitoring
from fairlead_operator.desired import application as composed
from fairlead_operator.desired import scaling
from fairlead_operator.state.desired import Autoscaling
from fairlead_operator.state.keys import RayKey
from fairlead_operator.state.observed import InvalidSpec, ModelDeploymentView, RevisionView
from fairlead_operator.state.serve import ApplicationConfig, ServeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """A ModelDeployment and its own ControllerRevisions; ``routed`` are those that the route or a gateway names."""

    view: ModelDeploymentView
    revisions: tuple[RevisionView, ...]
    routed: frozenset[str] = frozenset()


def compose(key: RayKey, models: Sequence[KeptModel], *, is_placement: bool) -> ServeConfig:
    """Every application that should run on a cluster; the same input gives the same bytes.

    ``is_placement`` says whether new revisions go to this cluster.
    """
    parts = [of_model(key, model) for model in models]
    return joined(key, parts, may_get_models=is_placement and bool(models))


def of_model(key: RayKey, model: KeptModel) -> ServeConfig:
    """One model's part of a cluster."""
    own = [revision for revision in model.revisions if revision.cluster == key.cluster]
    found = (application(model.view, revision) for revision in own)
    return ServeConfig(
        namespace=key.namespace,
        applications=tuple(config for config in found if config is not None),
        kept=tuple(_kept(model)),
        has_models=bool(own),
    )


def joined(key: RayKey, parts: Sequence[ServeConfig], *, may_get_models: bool) -> ServeConfig:
    """One config of its models' parts, sorted by name."""
    return ServeConfig(
        namespace=key.namespace,
        applications=tuple(sorted((a for part in parts for a in part.applications), key=lambda config: config.name)),
        kept=tuple(sorted(name for part in parts for name in part.kept)),
        has_models=any(part.has_models for part in parts) or may_get_models,
    )


def application(view: ModelDeploymentView, revision: RevisionView) -> ApplicationConfig | None:
    """The application of one revision, None where it should not run."""
    wanted = scaling.wanted(view, revision)
    if wanted is None:
        return None
    attempt = _attempt(view, revision)
    body = composed.deployed(
        revision.application,
        replicas=wanted,
        digest=revision.content_digest,
        attempt=attempt,
        monitoring=_monitoring(view),
    )
    name = names.serve_application(view.namespace, view.name, revision.revision)
    return ApplicationConfig(
        name=name,
        revision=revision.revision,
        replicas=wanted.least if isinstance(wanted, Autoscaling) else wanted,
        replicas_max=wanted.most if isinstance(wanted, Autoscaling) else None,
        keeps_more=scaling.keeps_more(view, revision),
        attempt=attempt,
        body=body,
    )


def _monitoring(view: ModelDeploymentView) -> Monitoring | None:
    """None where the object's spec can't be read."""
    return None if isinstance(view.spec, InvalidSpec) else view.spec.monitoring


def _attempt(view: ModelDeploymentView, revision: RevisionView) -> int:
    attempt = view.serving.attempt_of(revision.revision)
    return attempt.number if attempt is not None else 0


def _kept(model: KeptModel) -> list[str]:
    """Applications that go on as they run.

    Those that have a place, but can't be composed: gone is the plan, not the need. Their ControllerRevision was
    deleted, or the spec with the bounds of their scaling can't be read. And without a rollout those that the route
    still names: an older CRD may have taken away what the status knew of them.
    """
    view, serving = model.view, model.view.serving
    lost = set(serving.running) - {r.revision for r in model.revisions if not scaling.is_unreadable(view, r)}
    if serving.rollout is None and not view.is_deleting:
        lost |= model.routed - set(serving.running)
    return [names.serve_application(view.namespace, view.name, revision) for revision in sorted(lost)]
