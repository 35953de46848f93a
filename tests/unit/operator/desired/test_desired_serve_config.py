from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support import builders

from fairlead_operator.desired import application, revision, serve_config
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.json_text import canonical_json
from fairlead_operator.state.keys import ModelKey, RayKey
from fairlead_operator.state.observed import InvalidSpec, RevisionView
from fairlead_operator.state.serve import ApplicationConfig, says_the_same
from fairlead_runtime import config

REV = builders.revision()
KEY = RayKey(builders.NAMESPACE, "default")
AT = "2026-01-01T00:00:00Z"


def compose(status: dict[str, Any], *revisions: RevisionView, **overrides: Any) -> dict[str, int]:
    view = builders.model_deployment(status=status, **overrides)
    kept = serve_config.KeptModel(view=view, revisions=revisions or (REV,))
    config = serve_config.compose(KEY, (kept,), is_placement=True)
    return {application.revision: application.replicas for application in config.applications}


def rollout(phase: str, **fields: object) -> dict[str, object]:
    return {"phase": phase, "startedAt": AT, "stepStartedAt": AT, **fields}


STABLE = {"stableRevision": REV.revision}
CANDIDATE = {"candidateRevision": REV.revision, "rollout": rollout("Starting")}
THREE = {"scaling": {"replicas": 3}}


@pytest.mark.parametrize(
    ("status", "spec", "replicas"),
    [
        pytest.param({}, THREE, 0, id="a revision without a place"),
        pytest.param(STABLE, THREE, 3, id="stable"),
        pytest.param(STABLE, {"scaling": {"replicas": 40}}, 40, id="as many as are asked for"),
        pytest.param(STABLE, {"scaling": {"replicas": 0}}, 0, id="scaled to zero"),
        pytest.param(CANDIDATE, THREE, 3, id="a candidate whose content is known"),
        pytest.param({"rollout": rollout("Draining", previousRevision=REV.revision)}, THREE, 3, id="draining"),
        pytest.param(STABLE, {"suspend": True}, 1, id="suspended, but traffic may still come"),
        pytest.param({**STABLE, "rollout": rollout("Retired")}, {"suspend": True}, 0, id="retired"),
    ],
)
def test_the_role_of_a_revision_determines_its_replicas(
    status: dict[str, Any], spec: dict[str, Any], replicas: int
) -> None:
    assert compose(status, spec=spec).get(REV.revision, 0) == replicas


def test_a_candidate_starts_with_one_replica_until_its_content_is_pinned() -> None:
    assert compose(CANDIDATE, builders.revision(digest=None), spec=THREE) == {REV.revision: 1}


def test_a_deleted_object_keeps_its_replicas_until_the_gateways_confirm() -> None:
    assert compose(STABLE, deletion_timestamp=builders.NOW) == {REV.revision: 1}
    assert compose({**STABLE, "rollout": rollout("Retired")}, deletion_timestamp=builders.NOW) == {}


def test_a_spec_that_cannot_be_read_changes_nothing() -> None:
    row = {"name": REV.revision, "number": 1, "role": "Stable", "uri": builders.URI, "wantedReplicas": 3}
    assert compose({**STABLE, "revisions": [row]}, spec=InvalidSpec(message="?")) == {REV.revision: 3}


def test_an_application_whose_controller_revision_is_gone_is_kept_by_name() -> None:
    view = builders.model_deployment(status={"stableRevision": "0123456789"})
    kept = serve_config.KeptModel(view=view, revisions=())
    config = serve_config.compose(KEY, (kept,), is_placement=True)
    assert config.kept == ("default--digits--0123456789",)


def test_the_application_is_as_the_contract_says() -> None:
    view = builders.model_deployment(status=STABLE)
    application = serve_config.application(view, REV)
    assert application is not None
    assert application.body == {
        "name": f"default--digits--{REV.revision}",
        "import_path": "fairlead_runtime.app:build",
        "route_prefix": None,
        "args": {
            "config": {
                "schemaVersion": 1,
                "namespace": "default",
                "model": "digits",
                "revision": REV.revision,
                "revisionNumber": 1,
                "aliases": [],
                "source": {"uri": builders.URI, "format": None, "signature": None, "digest": None},
                "limits": {
                    "maxRequestBytes": 1048576,
                    "requestTimeoutSeconds": 30,
                    "maxOngoingRequests": 64,
                    "maxQueuedRequests": 256,
                },
                "engine": "TensorFlow",
                "batching": {"mode": "Auto", "maxRows": 64, "maxDelayMilliseconds": 0},
                "warmup": {"batchSizes": [1]},
                "attempt": 0,
            }
        },
        "deployments": [
            {
                "name": "replica",
                "num_replicas": 1,
                "user_config": {"digest": builders.DIGEST, "explanations": None, "payloads": None},
                "ray_actor_options": {"num_cpus": 0.5, "memory": 536870912},
                "graceful_shutdown_timeout_s": 40,
            }
        ],
    }


def test_the_example_is_sent_as_it_was_written_and_left_out_where_there_is_none() -> None:
    def config(**model: object) -> Any:
        template = revision.template_of(builders.spec(model={"uri": builders.URI, **model}))
        composed: Any = application.compose(
            ModelKey("default", "digits"), "0123456789", number=1, template=template, bounds=Bounds()
        )
        return composed["args"]["config"]

    given = '{"instances": [[1.0,  2]]}'
    assert config(example=given)["example"] == given
    assert "example" not in config()


def test_an_optimization_is_sent_with_every_value_and_left_out_where_there_is_none() -> None:
    def config(**spec: object) -> Any:
        template = revision.template_of(builders.spec(**spec))
        composed: Any = application.compose(
            ModelKey("default", "digits"), "0123456789", number=1, template=template, bounds=Bounds()
        )
        return composed["args"]["config"]

    assert "optimization" not in config()
    assert config(optimization={"optimizeFor": "Size", "accuracyFloor": {"maxDrop": 0}})["optimization"] == {
        "techniques": [
            *("Folding", "StaticInt8", "DynamicInt8", "StructuredPruning", "MagnitudePruning", "WeightClustering"),
        ],
        "optimizeFor": "Size",
        "accuracyFloor": {"metric": "Accuracy", "maxDrop": 0.0},
        "maxScoreChange": 0.1,
    }


def test_each_stage_is_a_deployment_of_the_same_size_and_number_that_outlives_the_first() -> None:
    given = builders.spec(optimization={"parallelism": {"stages": 3}}, serving={"requestTimeoutSeconds": 5})
    template = revision.template_of(given)
    composed: Any = application.compose(
        ModelKey("default", "digits"), "0123456789", number=1, template=template, bounds=Bounds(shutdown_margin_s=10)
    )
    config = composed["args"]["config"]
    assert (config["parallelism"], "optimization" in config) == ({"stages": 3}, False)
    deployed: Any = application.deployed(composed, replicas=2, digest=builders.DIGEST, attempt=1)
    size = {"num_cpus": 0.5, "memory": 2**29}
    assert deployed["deployments"] == [
        {
            "name": name,
            "ray_actor_options": size,
            "graceful_shutdown_timeout_s": stops_after_s,
            "num_replicas": 2,
            "user_config": {"digest": builders.DIGEST, **own},
        }
        for name, stops_after_s, own in (
            ("replica", 15, {"explanations": None, "payloads": None}),
            ("stage-2", 25, {}),
            ("stage-3", 25, {}),
        )
    ]


def test_pinning_and_scaling_restart_nothing() -> None:
    def args(revision: RevisionView, replicas: int) -> bytes:
        view = builders.model_deployment(status=STABLE, spec={"scaling": {"replicas": replicas}})
        application = serve_config.application(view, revision)
        assert application is not None
        return canonical_json(application.body["args"])

    assert args(builders.revision(digest=None), 1) == args(builders.revision(), 4)


PAYLOADS = {"url": "https://events.example.org/a", "samplePercent": 5, "redact": ["name"]}


def with_payloads(payloads: dict[str, Any] | None) -> ApplicationConfig:
    return monitored(payloads=payloads)


def monitored(**monitoring: dict[str, Any] | None) -> ApplicationConfig:
    """The application of the stable revision, whose ControllerRevision knows nothing of spec.monitoring."""
    view = builders.model_deployment(status=STABLE, spec={"monitoring": monitoring})
    application = serve_config.application(view, REV)
    assert application is not None
    return application


def test_the_payload_log_is_carried_to_revisions_that_run_and_restarts_nothing() -> None:
    logged, quiet = with_payloads({**PAYLOADS, "credentialsSecretName": "sink"}), with_payloads(None)
    deployments: Any = logged.body["deployments"]
    assert deployments[0]["user_config"] == {
        "digest": builders.DIGEST,
        "explanations": None,
        "payloads": {**PAYLOADS, "credentialsSecretName": "sink", "keepText": [], "maxEventBytes": 65536},
    }
    assert canonical_json(logged.body["args"]) == canonical_json(quiet.body["args"])
    assert config.parse_payloads(deployments[0]["user_config"]) is not None


def test_sampled_explanations_are_carried_to_revisions_that_run_and_restart_nothing() -> None:
    explained, quiet = monitored(explanations={"samplesPerMinute": 10}), monitored()
    found: Any = explained.body["deployments"]
    asked = config.parse_explanations(found[0]["user_config"])
    assert asked is not None
    assert asked.samples_per_minute == 10
    assert canonical_json(explained.body["args"]) == canonical_json(quiet.body["args"])
    assert not says_the_same(quiet.body, explained.body)
    assert not says_the_same(explained.body, quiet.body)


def test_turning_the_payload_log_on_or_off_is_a_difference_that_is_written() -> None:
    logged, redacted, quiet = (
        with_payloads(each) for each in (PAYLOADS, {**PAYLOADS, "redact": ["name", "age"]}, None)
    )
    for wanted, deployed in itertools.permutations((logged, redacted, quiet), 2):
        assert not says_the_same(wanted.body, deployed.body)
    # As an operator without this field has deployed it.
    before = json.loads(canonical_json(quiet.body))
    del before["deployments"][0]["user_config"]["payloads"]
    assert says_the_same(quiet.body, before)


def test_an_object_that_cannot_be_read_has_no_payload_log() -> None:
    view = replace(builders.model_deployment(status=STABLE), spec=InvalidSpec(message="spec.model.uri: missing"))
    application = serve_config.application(view, REV)
    assert application is None or application.body["deployments"][0]["user_config"]["payloads"] is None


@pytest.mark.parametrize(
    ("cpu", "memory", "options"),
    [
        ("500m", "512Mi", {"num_cpus": 0.5, "memory": 512 << 20}),
        ("1.25", "1G", {"num_cpus": 1.25, "memory": 10**9}),
        ("2", "16Ti", {"num_cpus": 2.0, "memory": 16 << 40}),
        ("2", "3T", {"num_cpus": 2.0, "memory": 3 * 10**12}),
        ("2", "16777216", {"num_cpus": 2.0, "memory": 16777216}),
    ],
)
def test_every_quantity_that_the_api_server_accepts_becomes_rays_number(
    cpu: str, memory: str, options: dict[str, float]
) -> None:
    desired_spec = builders.spec(serving={"resources": {"cpu": cpu, "memory": memory}})
    kept = builders.revision(desired_spec)
    view = builders.model_deployment(spec=desired_spec, status={"stableRevision": kept.revision})
    application = serve_config.application(view, kept)
    assert application is not None
    deployments: Any = application.body["deployments"]
    assert deployments[0]["ray_actor_options"] == options
