"""The bounds within which Ray may scale each revision: from the spec, and from where a rollout stands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import builders

from fairlead_operator.api.status import RolloutPhase
from fairlead_operator.desired import scaling, serve_config
from fairlead_operator.state.desired import Autoscaling
from fairlead_operator.state.keys import RayKey
from fairlead_operator.state.observed import InvalidSpec, RevisionView
from fairlead_operator.state.serve import ApplicationConfig

AUTOMATIC: dict[str, Any] = {"minReplicas": 2, "maxReplicas": 8, "target": {"ongoingRequests": 4}}
SCALED = builders.revision(builders.spec(scaling=AUTOMATIC))
FIXED = builders.revision()
OTHER = "0123456789"
AT = "2026-01-01T00:00:00Z"


def bounds(revision: RevisionView = SCALED, *, spec: Any = AUTOMATIC, **status: Any) -> tuple[int, int] | int | None:
    """What the revision may have: bounds, a fixed number, or nothing at all."""
    found = application(revision, spec=spec, **status)
    if found is None:
        return None
    return found.replicas if found.replicas_max is None else (found.replicas, found.replicas_max)


def application(revision: RevisionView = SCALED, *, spec: Any = AUTOMATIC, **status: Any) -> ApplicationConfig | None:
    wanted = spec if isinstance(spec, InvalidSpec) else {"scaling": spec}
    view = builders.model_deployment(spec=wanted, status={"stableRevision": revision.revision, **status})
    return serve_config.application(view, revision)


def rollout(phase: str, **fields: object) -> dict[str, Any]:
    return {"rollout": {"phase": phase, "startedAt": AT, "stepStartedAt": AT, **fields}}


def row(revision: RevisionView, replicas: int) -> dict[str, Any]:
    return {
        "revisions": [
            {"name": revision.revision, "number": 1, "role": "Stable", "uri": "x", "wantedReplicas": replicas}
        ]
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(AUTOMATIC, (2, 8), id="the spec's"),
        pytest.param({**AUTOMATIC, "replicas": 5}, (5, 8), id="replicas is a lower limit"),
        pytest.param({**AUTOMATIC, "replicas": 20}, (8, 8), id="up to the maximum"),
        pytest.param({**AUTOMATIC, "replicas": 0}, None, id="0 stops the model"),
        pytest.param({"replicas": 3}, (3, 3), id="a fixed number keeps the policy"),
    ],
)
def test_bounds_without_a_rollout(spec: dict[str, Any], expected: object) -> None:
    assert bounds(spec=spec) == expected


def test_what_ray_gets_has_the_policy_of_the_runtime_and_no_number() -> None:
    config = application(spec={**AUTOMATIC, "scaleUp": {"stabilizationSeconds": 3}})
    assert config is not None
    (deployment,) = config.body["deployments"]  # type: ignore[misc]
    scaled = deployment["autoscaling_config"]  # type: ignore[has-type]
    assert "num_replicas" not in deployment  # type: ignore[has-type]
    assert scaled["policy"] == {"policy_function": "fairlead_runtime.autoscaling:decide"}
    assert (scaled["target_ongoing_requests"], scaled["upscale_delay_s"], scaled["downscale_delay_s"]) == (4, 3, 300)


def test_scaling_that_is_turned_on_makes_another_revision_and_other_bounds_do_not() -> None:
    other = builders.revision(builders.spec(scaling={**AUTOMATIC, "maxReplicas": 9, "replicas": 4}))
    assert FIXED.revision != SCALED.revision == other.revision


def test_a_revision_of_a_fixed_number_keeps_the_number_that_it_had() -> None:
    assert bounds(FIXED, **row(FIXED, 5)) == 5
    assert bounds(FIXED, **row(FIXED, 50)) == 8


def test_a_spec_that_cannot_be_read_leaves_the_bounds_that_ray_has() -> None:
    view = builders.model_deployment(spec=InvalidSpec(message="?"), status={"stableRevision": SCALED.revision})
    kept = serve_config.KeptModel(view=view, revisions=(SCALED,))
    config = serve_config.compose(RayKey(builders.NAMESPACE, "default"), (kept,), is_placement=True)
    assert config.applications == ()
    assert config.kept == (f"default--digits--{SCALED.revision}",)


def test_during_a_rollout_the_stable_revision_keeps_what_it_had() -> None:
    steps = rollout("Shifting", scaledReplicas=6, candidateReplicas=2, weightBasisPoints=2500)
    assert bounds(candidateRevision=OTHER, **steps) == (6, 8)


def test_the_candidate_has_its_share_and_what_its_own_load_adds() -> None:
    steps = rollout("Shifting", scaledReplicas=6, candidateReplicas=2, weightBasisPoints=2500)
    assert bounds(stableRevision=OTHER, candidateRevision=SCALED.revision, **steps) == (2, 8)


def test_content_that_is_not_known_yet_is_loaded_once() -> None:
    candidate = builders.revision(builders.spec(scaling=AUTOMATIC), digest=None)
    steps = rollout("Starting", scaledReplicas=6)
    assert bounds(candidate, stableRevision=OTHER, candidateRevision=candidate.revision, **steps) == (1, 1)


def test_batches_take_from_the_stable_revision_exactly_what_they_say() -> None:
    steps = rollout("Shifting", scaledReplicas=6, candidateReplicas=3, stableReplicas=4)
    assert bounds(candidateRevision=OTHER, **steps) == (4, 4)
    assert bounds(stableRevision=OTHER, candidateRevision=SCALED.revision, **steps) == (3, 8)


def test_on_the_way_back_the_candidate_gives_away_and_the_stable_revision_grows() -> None:
    steps = rollout("Restoring", scaledReplicas=6, candidateReplicas=3, stableReplicas=4)
    assert bounds(candidateRevision=OTHER, **steps) == (4, 8)
    assert bounds(stableRevision=OTHER, candidateRevision=SCALED.revision, **steps) == (3, 3)


def test_a_warm_revision_keeps_what_it_had() -> None:
    steps = rollout("Watching", scaledReplicas=6, previousRevision=SCALED.revision)
    assert bounds(stableRevision=OTHER, **steps) == (6, 8)


def test_a_rollout_begins_with_what_the_stable_revision_has() -> None:
    spec = builders.spec(scaling=AUTOMATIC)
    view = builders.model_deployment(spec={"scaling": AUTOMATIC}, status={"stableRevision": OTHER})
    assert scaling.replicas_of(spec, view.status) == 2
    known = row(SCALED, 5)
    view = builders.model_deployment(spec={"scaling": AUTOMATIC}, status={"stableRevision": SCALED.revision, **known})
    assert scaling.replicas_of(spec, view.status) == 5


@given(
    least=st.integers(1, 50),
    more=st.integers(0, 50),
    replicas=st.integers(1, 1000),
    phase=st.sampled_from(RolloutPhase),
    counts=st.tuples(*(st.none() | st.integers(0, 100) for _ in range(3))),
    places=st.permutations(["stableRevision", "candidateRevision", "previousRevision"]),
    digest=st.sampled_from([None, builders.DIGEST]),
)
def test_bounds_are_never_crossed_and_always_within_the_maximum(
    least: int,
    more: int,
    replicas: int,
    phase: RolloutPhase,
    counts: tuple[int | None, int | None, int | None],
    places: list[str],
    digest: str | None,
) -> None:
    spec = {**AUTOMATIC, "minReplicas": least, "maxReplicas": least + more, "replicas": replicas}
    names = dict(zip(places, [SCALED.revision, OTHER, "abcdefabcd"], strict=True))
    limits = dict(zip(("scaledReplicas", "candidateReplicas", "stableReplicas"), counts, strict=True))
    steps = rollout(phase, previousRevision=names.pop("previousRevision"), **limits)
    revision = builders.revision(builders.spec(scaling=AUTOMATIC), digest=digest)
    view = builders.model_deployment(spec={"scaling": spec}, status={**names, **steps})
    found = scaling.wanted(view, revision)
    assert found is None or isinstance(found, Autoscaling)
    if found is not None:
        assert 1 <= found.least <= found.most <= least + more
