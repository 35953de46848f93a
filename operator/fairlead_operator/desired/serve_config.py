"""The wanted Serve config of a Ray cluster, composed from all its ModelDeployments.

Source: docs/contracts.md, "Operator → Ray: the Serve config".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairlead_operator.api import names
from fairlead_operator.desired import replicas
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.observed import ModelDeploymentView, RevisionView
from fairlead_operator.state.rollout import recall
from fairlead_operator.state.serve import ApplicationConfig, ServeConfig

IMPORT_PATH = "fairlead_runtime.app:build"
DEPLOYMENT = "replica"
CONFIG_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptModel:
    """A ModelDeployment and its own ControllerRevisions."""

    view: ModelDeploymentView
    revisions: tuple[RevisionView, ...]


def compose(namespace: str, models: Sequence[KeptModel], bounds: Bounds) -> ServeConfig:
    """Every application that should run for a namespace; the same input gives the same bytes."""
    return joined(namespace, [of_model(namespace, model, bounds) for model in models])


def of_model(namespace: str, model: KeptModel, bounds: Bounds) -> ServeConfig:
    """One model's part."""
    found = (application(model.view, revision, bounds) for revision in model.revisions)
    return ServeConfig(
        namespace=namespace,
        applications=tuple(config for config in found if config is not None),
        kept=tuple(_unreadable(model)),
        has_models=True,
    )


def joined(namespace: str, parts: Sequence[ServeConfig]) -> ServeConfig:
    """One config of its models' parts, sorted by name."""
    return ServeConfig(
        namespace=namespace,
        applications=tuple(sorted((a for part in parts for a in part.applications), key=lambda config: config.name)),
        kept=tuple(sorted(name for part in parts for name in part.kept)),
        has_models=any(part.has_models for part in parts),
    )


def application(view: ModelDeploymentView, revision: RevisionView, bounds: Bounds) -> ApplicationConfig | None:
    """The application of one revision, None where it should not run."""
    wanted = replicas.wanted_replicas(view, revision)
    if wanted == 0:
        return None
    name = names.serve_application(view.namespace, view.name, revision.revision)
    body = {
        "name": name,
        "import_path": IMPORT_PATH,
        "route_prefix": None,
        "args": {"config": _replica_config(view, revision, bounds)},
        "deployments": [_deployment(revision, wanted, bounds)],
    }
    return ApplicationConfig(name=name, revision=revision.revision, replicas=wanted, body=body)


def _replica_config(view: ModelDeploymentView, revision: RevisionView, bounds: Bounds) -> dict[str, object]:
    model, serving = revision.template.model, revision.template.serving
    return {
        "schemaVersion": CONFIG_SCHEMA,
        "namespace": view.namespace,
        "model": view.name,
        "revision": revision.revision,
        "revisionNumber": revision.number,
        "aliases": [model.version] if model.version else [],
        "source": {
            "uri": model.uri,
            "format": model.format.value if model.format else None,
            "signature": model.signature,
            "digest": model.digest,
        },
        "ports": {"host": bounds.replica_host, "first": revision.ports.first, "count": revision.ports.count},
        "limits": {
            "maxRequestBytes": serving.max_request_bytes,
            "requestTimeoutSeconds": serving.request_timeout_seconds,
            "maxOngoingRequests": serving.max_ongoing_requests,
            "maxQueuedRequests": serving.max_queued_requests,
        },
        "batching": {
            "mode": serving.batching.mode.value,
            "maxRows": serving.batching.max_rows,
            "maxDelayMilliseconds": serving.batching.max_delay_milliseconds,
        },
        "warmup": {"batchSizes": list(model.warmup.batch_sizes)},
        "attempt": _attempt(view, revision),
    }


def _attempt(view: ModelDeploymentView, revision: RevisionView) -> int:
    attempt = recall(view.status).attempt_of(revision.revision)
    return attempt.number if attempt is not None else 0


def _deployment(revision: RevisionView, wanted: int, bounds: Bounds) -> dict[str, object]:
    resources = revision.template.serving.resources
    digest = revision.content_digest
    return {
        "name": DEPLOYMENT,
        "num_replicas": wanted,
        "user_config": {"digest": digest},
        "ray_actor_options": {
            "num_cpus": resources.cpu_cores,
            "memory": resources.memory_bytes,
        },
        "graceful_shutdown_timeout_s": revision.template.serving.request_timeout_seconds + bounds.shutdown_margin_s,
    }


def _unreadable(model: KeptModel) -> list[str]:
    """Applications that have a place but no ControllerRevision any more: gone is the plan, not the need."""
    serving = recall(model.view.status)
    if replicas.is_retired(model.view, serving):
        return []
    lost = set(serving.active) - {revision.revision for revision in model.revisions}
    return [names.serve_application(model.view.namespace, model.view.name, revision) for revision in lost]
