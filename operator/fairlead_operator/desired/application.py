"""The Serve application of one revision: composed once, when the revision is created, and kept with it.

What runs is made from what was kept and from nothing else. So neither a flag nor another version of the operator
changes an application that runs: Ray restarts every replica of one whose ``args`` differ.
Source: docs/contracts.md, "Operator → Ray: the Serve config".
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from fairlead_operator.api import names
from fairlead_operator.api.guards import Guards
from fairlead_operator.api.model_source import ModelSource
from fairlead_operator.api.monitoring import Monitoring
from fairlead_operator.state import json_text, revision_data
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.desired import Autoscaling
from fairlead_operator.state.keys import ModelKey
from fairlead_operator.state.observed import RevisionTemplate

IMPORT_PATH = "fairlead_runtime.app:build"
CONFIG_SCHEMA = 1
POLICY = "fairlead_runtime.autoscaling:decide"
"""Never another one for a revision that exists: its replicas would restart."""
LOAD_INTERVAL_S = 2.0
"""How often each replica reports its load to Ray's controller."""
LOAD_LOOK_BACK_S = 6.0
"""The time over which the load is averaged."""
COMPOSED_MAX = 512
"""So many composed applications are kept at hand: a pass has few, and hundreds of passes are under way at most."""


def compose(
    key: ModelKey, revision: str, *, number: int, template: RevisionTemplate, bounds: Bounds
) -> dict[str, object]:
    """What a ControllerRevision keeps: all but the number of replicas, the ``user_config`` and the attempt."""
    return {
        "name": names.serve_application(key.namespace, key.name, revision),
        "import_path": IMPORT_PATH,
        "route_prefix": None,
        "args": {"config": _replica_config(key, revision, number, template)},
        "deployments": [_deployment(template, bounds, number) for number in range(1, template.stages + 1)],
    }


def _deployment(template: RevisionTemplate, bounds: Bounds, stage: int) -> dict[str, object]:
    """The first stage has the requests; the others stop after it, as it needs them until it has answered the last."""
    serving, resources = template.serving, template.serving.resources
    margin_s = bounds.shutdown_margin_s if stage == 1 else 2 * bounds.shutdown_margin_s
    return {
        "name": revision_data.deployment_name(stage),
        "ray_actor_options": {"num_cpus": resources.cpu_cores, "memory": resources.memory_bytes},
        "graceful_shutdown_timeout_s": serving.request_timeout_seconds + margin_s,
    }


def _replica_config(key: ModelKey, revision: str, number: int, template: RevisionTemplate) -> dict[str, object]:
    model, serving = template.model, template.serving
    return {
        "schemaVersion": CONFIG_SCHEMA,
        "namespace": key.namespace,
        "model": key.name,
        "revision": revision,
        "revisionNumber": number,
        "aliases": [model.version] if model.version else [],
        "source": _source(model),
        "limits": {
            "maxRequestBytes": serving.max_request_bytes,
            "requestTimeoutSeconds": serving.request_timeout_seconds,
            "maxOngoingRequests": serving.max_ongoing_requests,
            "maxQueuedRequests": serving.max_queued_requests,
        },
        "engine": serving.engine.value,
        "batching": {
            "mode": serving.batching.mode.value,
            "maxRows": serving.batching.max_rows,
            "maxDelayMilliseconds": serving.batching.max_delay_milliseconds,
        },
        "warmup": {"batchSizes": list(model.warmup.batch_sizes)},
        **_optimization(template),
        # Left out where they are unset: a revision that exists keeps its configuration.
        **({"guards": guards} if (guards := _guards(serving.guards)) else {}),
        **({} if model.example is None else {"example": model.example}),
    }


def _guards(guards: Guards) -> dict[str, object]:
    """Those that are not off."""
    return guards.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _optimization(template: RevisionTemplate) -> dict[str, object]:
    optimization = template.optimization
    if optimization is None:
        return {}
    if optimization.parallelism is not None:
        return {"parallelism": optimization.parallelism.model_dump(mode="json", by_alias=True)}
    return {"optimization": optimization.model_dump(mode="json", by_alias=True, exclude_none=True)}


def _source(model: ModelSource) -> dict[str, object]:
    """The name of a Secret, never what is in it: Ray shows its configuration to all who may read its dashboard."""
    given = {
        "uri": model.uri,
        "format": model.format.value if model.format else None,
        "signature": model.signature,
        "digest": model.digest,
    }
    optional = {"endpoint": model.endpoint, "credentialsSecretName": model.credentials_secret_name}
    return {**given, **{name: value for name, value in optional.items() if value is not None}}


def deployed(
    kept: Mapping[str, Any],
    *,
    replicas: Autoscaling | int,
    digest: str | None,
    attempt: int,
    monitoring: Monitoring | None = None,
) -> Mapping[str, object]:
    """The application as Ray gets it: what was kept, and what may change while it runs.

    One that is kept as text is composed as text: a pass composes each of its applications several times.
    """
    if isinstance(kept, json_text.KeptJson):
        return _deployed_text(kept.text, replicas, digest, attempt, monitoring)
    return _deployed(kept, replicas, digest, attempt, monitoring)


@functools.lru_cache(maxsize=COMPOSED_MAX)
def _deployed_text(
    kept: bytes, replicas: Autoscaling | int, digest: str | None, attempt: int, monitoring: Monitoring | None
) -> json_text.KeptJson:
    return json_text.KeptJson(_deployed(json.loads(kept), replicas, digest, attempt, monitoring))


def _deployed(
    kept: Mapping[str, Any],
    replicas: Autoscaling | int,
    digest: str | None,
    attempt: int,
    monitoring: Monitoring | None,
) -> dict[str, object]:
    options = autoscaled(replicas) if isinstance(replicas, Autoscaling) else fixed(replicas)
    first, *others = kept["deployments"]
    pinned: dict[str, object] = {"digest": digest}
    # Only the first stage has the requests. A null turns its field off: a key that is missing is Ray's business.
    fields = {"payloads", "explanations"}
    sent = (monitoring or Monitoring()).model_dump(mode="json", by_alias=True, include=fields)
    return {
        **kept,
        "args": {**kept["args"], "config": {**kept["args"]["config"], "attempt": attempt}},
        # Each stage has the same number: a first stage uses one copy of each of the others.
        "deployments": [
            {**first, **options, "user_config": {**pinned, **sent}},
            *({**each, **options, "user_config": pinned} for each in others),
        ],
    }


def fixed(replicas: int) -> dict[str, object]:
    return {"num_replicas": replicas}


def autoscaled(scaling: Autoscaling) -> dict[str, object]:
    """Ray's own autoscaling with the runtime's policy: it goes on while the operator is away."""
    config = {
        "min_replicas": scaling.least,
        "max_replicas": scaling.most,
        "target_ongoing_requests": scaling.ongoing_requests,
        "upscale_delay_s": scaling.up_s,
        "downscale_delay_s": scaling.down_s,
        "metrics_interval_s": LOAD_INTERVAL_S,
        "look_back_period_s": LOAD_LOOK_BACK_S,
        "policy": {"policy_function": POLICY},
    }
    return {"autoscaling_config": config}
