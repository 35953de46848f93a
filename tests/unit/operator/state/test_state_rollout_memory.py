from __future__ import annotations

import datetime
import json

from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api.status import (
    Attempt,
    HandledRequest,
    ModelDeploymentStatus,
    Quarantine,
    RaySession,
    RequestOutcome,
    Rollback,
    Rollout,
    RolloutPhase,
    Verb,
)
from fairlead_operator.state.rollout import Serving, recall, record

revisions = st.none() | st.from_regex(r"[0-9a-f]{10}", fullmatch=True)
seconds = st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2090, 1, 1)).map(  # noqa: DTZ001  # made aware
    lambda t: t.replace(microsecond=0, tzinfo=datetime.UTC)
)
texts = st.text(max_size=200)
rollouts = st.builds(
    Rollout,
    phase=st.sampled_from(RolloutPhase),
    leaving=revisions,
    step=st.integers(0, 20),
    weight=st.integers(0, 10000),
    started_at=seconds,
    step_started_at=seconds,
    proof_failures=st.integers(0, 9),
    proof_attempts=st.integers(0, 9),
    proof_tried_at=st.none() | seconds,
    proved=st.booleans(),
    proof_digest=st.none() | st.just("sha256:" + "0" * 64),
    proof_message=texts,
    ray_sessions=st.just(()) | st.just((RaySession(cluster="default", session="session_1"),)),
    paused_by_request=st.booleans(),
    progress_s=st.integers(0, 100_000),
    progress_at=st.none() | seconds,
    stable_lost_at=st.none() | seconds,
)
quarantines = st.builds(
    Quarantine,
    revision=st.from_regex(r"[0-9a-f]{10}", fullmatch=True),
    reason=st.sampled_from(["ModelCorrupt", "ProofFailed"]),
    message=texts,
    time=seconds,
)
attempts = st.builds(
    Attempt, revision=st.from_regex(r"[0-9a-f]{10}", fullmatch=True), number=st.integers(1, 9), time=seconds
)
rollbacks = st.builds(Rollback, revision=st.just("0123456789"), instead_of=st.just("abcdef0123"))
handled = st.builds(
    HandledRequest,
    id=st.just("a-request"),
    verb=st.sampled_from(Verb),
    outcome=st.sampled_from(RequestOutcome),
    message=texts,
    time=seconds,
)
servings = st.builds(
    Serving,
    stable=revisions,
    candidate=revisions,
    last_stable=revisions,
    previous_stable=revisions,
    rollout=st.none() | rollouts,
    quarantine=st.lists(quarantines, max_size=3).map(tuple),
    attempts=st.lists(attempts, max_size=2).map(tuple),
    rollback=st.none() | rollbacks,
    handled=st.none() | handled,
)


@given(serving=servings)
def test_what_is_written_to_the_status_is_read_back_the_same(serving: Serving) -> None:
    wire = json.loads(json.dumps(record(serving, ModelDeploymentStatus()).to_wire()))
    assert recall(ModelDeploymentStatus.model_validate(wire)) == serving


def test_a_new_object_has_no_memory() -> None:
    assert recall(ModelDeploymentStatus()) == Serving()
