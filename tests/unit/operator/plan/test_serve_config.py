from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.support import builders

from fairlead_operator.plan import serve_config
from fairlead_operator.state.bounds import Bounds
from fairlead_operator.state.knowledge import Known, Unknown
from fairlead_operator.state.serve import (
    ApplicationConfig,
    ApplicationStatus,
    EmptyServe,
    Hold,
    Keep,
    Put,
    RayEvidence,
    RayObserved,
    ServeConfig,
    ServeDecision,
)

OURS = "default--digits--0123456789"
OLD = "default--digits--aaaaaaaaaa"


def config(name: str = OURS, replicas: int = 2) -> ApplicationConfig:
    body = {"name": name, "args": {"config": {}}, "deployments": [{"name": "replica", "num_replicas": replicas}]}
    return ApplicationConfig(name=name, revision=name[-10:], replicas=replicas, body=body)


def decide(
    evidence: RayEvidence, *wanted: ApplicationConfig, kept: tuple[str, ...] = (), models: bool = True
) -> ServeDecision:
    desired = ServeConfig(namespace="default", applications=wanted, kept=kept, has_models=models)
    return serve_config.decide(desired, RayObserved(namespace="default", evidence=evidence), Bounds())


def put_names(decision: ServeDecision) -> list[str]:
    assert isinstance(decision, Put)
    return [application["name"] for application in json.loads(decision.body)["applications"]]


def test_nothing_is_written_while_ray_cannot_be_read() -> None:
    decision = decide(Unknown("timed out"), config())
    assert isinstance(decision, Hold)
    assert "timed out" in decision.reason


@pytest.mark.parametrize("reads", [1, 2])
def test_an_empty_answer_proves_nothing_at_first(reads: int) -> None:
    assert isinstance(decide(EmptyServe(session="s", consecutive_reads=reads), config()), Hold)


def test_three_consistent_empty_answers_of_one_session_are_believed() -> None:
    assert put_names(decide(EmptyServe(session="s", consecutive_reads=3), config())) == [OURS]


def empty(seconds: float, *, last_session: str | None) -> EmptyServe:
    return EmptyServe(session="s", consecutive_reads=9, seconds=seconds, last_session=last_session)


@pytest.mark.parametrize(
    ("evidence", "kept", "is_put"),
    [
        pytest.param(empty(1, last_session="s"), (), False, id="this head had a controller a moment ago"),
        pytest.param(empty(61, last_session="s"), (), True, id="and has had none for longer than Ray looks for it"),
        pytest.param(empty(1, last_session="earlier"), (), True, id="a new head"),
        pytest.param(empty(61, last_session="s"), (OLD,), False, id="an application can't be composed again"),
        pytest.param(empty(61, last_session=None), (OLD,), False, id="the same after a restart of the operator"),
        pytest.param(empty(601, last_session=None), (OLD,), True, id="nobody holds it for ever"),
        pytest.param(empty(1, last_session="earlier"), (OLD,), True, id="it went with the head that ran it"),
    ],
)
def test_an_empty_answer_deletes_nothing_before_it_is_proved(
    evidence: EmptyServe, kept: tuple[str, ...], is_put: bool
) -> None:
    decision = decide(evidence, config(), kept=kept)
    assert isinstance(decision, Put if is_put else Hold)


def test_serve_is_started_to_prove_that_a_deleted_models_replicas_are_gone() -> None:
    assert put_names(decide(EmptyServe(session="s", consecutive_reads=3))) == []


def test_serve_is_not_started_for_a_namespace_without_models() -> None:
    assert isinstance(decide(EmptyServe(session="s", consecutive_reads=3), models=False), Keep)


def test_what_is_deployed_as_desired_is_not_written_twice() -> None:
    deployed = {**config().body, "route_prefix": None, "deployments": [{"name": "replica", "num_replicas": 2, "x": 1}]}
    assert isinstance(decide(builders.serve(builders.application(OURS, deployed)), config()), Keep)


def attempted(number: int, replicas: int = 2) -> ApplicationConfig:
    made = config(replicas=replicas)
    return replace(made, attempt=number, body={**made.body, "args": {"config": {"attempt": number}}})


@pytest.mark.parametrize(("running", "is_written"), [(0, True), (1, False)])
def test_another_attempt_is_written_only_while_nothing_runs(running: int, is_written: bool) -> None:
    """Ray may have replaced the replicas by itself since the attempt was announced: another number restarts them."""
    deployed = builders.application(OURS, attempted(0).body, running_replicas=running)
    assert isinstance(decide(builders.serve(deployed), attempted(1)), Put if is_written else Keep)


def test_a_scaled_application_keeps_the_attempt_that_runs() -> None:
    deployed = builders.application(OURS, attempted(0).body, running_replicas=2)
    decision = decide(builders.serve(deployed), attempted(1, replicas=3))
    assert isinstance(decision, Put)
    (sent,) = json.loads(decision.body)["applications"]
    assert (sent["args"]["config"]["attempt"], sent["deployments"][0]["num_replicas"]) == (0, 3)


def test_a_changed_replica_count_is_written_and_said() -> None:
    decision = decide(builders.serve(builders.application(OURS, config(replicas=1).body)), config())
    assert isinstance(decision, Put)
    assert decision.changes == (f"change {OURS} from 1 to 2 replicas",)


def test_an_application_that_is_being_deleted_and_is_wished_again_is_started() -> None:
    deleting = builders.application(OURS, config().body, status=ApplicationStatus.DELETING)
    assert put_names(decide(builders.serve(deleting), config())) == [OURS]


def test_our_own_application_that_nobody_wishes_is_stopped() -> None:
    decision = decide(builders.serve(builders.application(OLD, config(OLD).body)))
    assert put_names(decision) == []
    assert "stop" in str(decision)


def test_one_whose_controller_revision_is_gone_goes_on_as_it_is() -> None:
    deployed = builders.application(OLD, config(OLD).body)
    assert isinstance(decide(builders.serve(deployed), kept=(OLD,)), Keep)
    assert put_names(decide(builders.serve(deployed), config(), kept=(OLD,))) == [OURS, OLD]


@pytest.mark.parametrize("foreign", ["their-app", "other--digits--0123456789", "default--digits--xyz"])
def test_a_foreign_application_is_carried_over(foreign: str) -> None:
    theirs = builders.application(foreign, {"name": foreign, "import_path": "their:app"})
    assert put_names(decide(builders.serve(theirs), config())) == sorted([OURS, foreign])
    assert isinstance(decide(builders.serve(theirs)), Keep)


def test_another_namespaces_application_is_carried_over_where_its_name_could_be_ours() -> None:
    """``default--two--digits`` is the model ``two--digits`` of ``default``, or ``digits`` of ``default--two``."""
    theirs = "default--two--digits--0123456789"
    body = {"name": theirs, "args": {"config": {"namespace": "default--two", "model": "digits"}}}
    assert put_names(decide(builders.serve(builders.application(theirs, body)), config())) == sorted([OURS, theirs])
    ours = {"name": theirs, "args": {"config": {"namespace": "default", "model": "two--digits"}}}
    assert put_names(decide(builders.serve(builders.application(theirs, ours)), config())) == [OURS]


def test_a_foreign_application_that_shows_no_config_stops_every_write() -> None:
    decision = decide(builders.serve(builders.application("their-app", None)), config())
    assert isinstance(decision, Hold)
    assert "their-app" in decision.reason


def test_an_application_made_in_code_is_left_to_ray() -> None:
    theirs = builders.application("their-app", None, declarative=False)
    assert put_names(decide(builders.serve(theirs), config())) == [OURS]


def test_a_failed_application_is_not_put_again() -> None:
    failed = builders.application(OURS, config().body, status=ApplicationStatus.DEPLOY_FAILED)
    assert isinstance(decide(builders.serve(failed), config()), Keep)


def test_the_body_is_the_same_bytes_each_time() -> None:
    empty = EmptyServe(session="s", consecutive_reads=3)
    one, other = decide(empty, config(), config(OLD)), decide(empty, config(OLD), config())
    assert isinstance(one, Put)
    assert isinstance(other, Put)
    assert one.body == other.body
    assert isinstance(builders.serve(), Known)
