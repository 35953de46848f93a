"""Each write does one thing, may be done twice, and says what the server said."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support import builders
from tests.support.fake_objects import FakeObjects
from tests.support.hand_clock import HandClock

from fairlead_operator.api import model_source, spec, status
from fairlead_operator.api.evaluation_status import Evaluation, EvaluationOutcome
from fairlead_operator.api.optimization import Variant, VariantReason
from fairlead_operator.clients import errors, gateway, paths
from fairlead_operator.effects import events, execute, prove
from fairlead_operator.effects import kubernetes as objects
from fairlead_operator.effects import status as status_write
from fairlead_operator.state import actions, directory, keys, observed, reasons, signature
from fairlead_operator.state.rollout import Serving

KEY = keys.ModelKey("ns", "digits")
MODEL = paths.models("ns", "digits")
REVISION = paths.revisions("ns", "digits-abcdef0123")
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=datetime.UTC)
TEMPLATE = observed.RevisionTemplate(
    model=model_source.ModelSource(uri="file:///models/digits"), serving=spec.Serving()
)
CREATE = actions.CreateRevision(
    owner_uid="u1",
    name="digits-abcdef0123",
    revision="abcdef0123",
    number=1,
    template=TEMPLATE,
    cluster="default",
    application=builders.application_of("abcdef0123", TEMPLATE),
)


class Namespace:
    """Records the reported writes."""

    def __init__(self) -> None:
        self.revisions: dict[str, Any] = {}
        self.routes: dict[str, Any] = {}

    def wrote_revision(self, body: Mapping[str, Any]) -> None:
        self.revisions[body["metadata"]["name"]] = body

    def removed_revision(self, name: str, uid: str) -> None:
        assert self.revisions.pop(name)["metadata"]["uid"] == uid

    def wrote_route(self, body: Mapping[str, Any]) -> None:
        self.routes[body["metadata"]["name"]] = body

    def removed_route(self, name: str, uid: str) -> None:
        assert self.routes.pop(name)["metadata"]["uid"] == uid

    def note_route_writes(self, writes: observed.RouteWrites) -> None:
        raise AssertionError(writes)


NOTHING = signature.Signature(inputs={}, outputs={})


Answer = gateway.ProofReport | errors.FairleadError


def report(outcome: gateway.ProofOutcome = gateway.ProofOutcome.PROVED, message: str = "") -> gateway.ProofReport:
    return gateway.ProofReport(digest="sha256:1", outcome=outcome, message=message, signature=NOTHING)


class Gateways:
    """Answers by data URL: a replica's report, or an error."""

    def __init__(
        self,
        answers: Mapping[str, Answer],
        contracts: Mapping[str, signature.Signature | errors.FairleadError] | None = None,
    ) -> None:
        self._answers = answers
        self._contracts = contracts or {}

    async def prove(self, data_url: str, model: str, revision: str, *, timeout_s: float) -> gateway.ProofReport:
        answer = self._answers[data_url]
        if isinstance(answer, errors.FairleadError):
            raise answer
        return answer

    async def fetch_signature(self, data_url: str, model: str, revision: str) -> signature.Signature:
        answer = self._contracts[data_url]
        if isinstance(answer, errors.FairleadError):
            raise answer
        return answer


@pytest.fixture
def api() -> Any:
    return FakeObjects()


def model(resource_version: str = "5") -> observed.ModelDeploymentView:
    return observed.ModelDeploymentView(
        namespace="ns",
        name="digits",
        uid="u1",
        generation=1,
        resource_version=resource_version,
        deletion_timestamp=None,
        finalizers=(),
        spec=spec.ModelDeploymentSpec(model=TEMPLATE.model),
        status=status.ModelDeploymentStatus(),
    )


async def test_a_finalizer_is_written_only_to_the_version_that_was_read(api: Any) -> None:
    api.stored[MODEL] = {"metadata": {"name": "digits", "resourceVersion": "5"}}
    action = actions.AddFinalizer(resource_version="5", finalizers=("other", "fairlead.dev/serving"))
    done = await objects.write_finalizers(api, KEY, action)
    assert done == actions.Done(stored=api.stored[MODEL]), "the next pass need not ask for the object"
    assert api.stored[MODEL]["metadata"]["finalizers"] == ["other", "fairlead.dev/serving"]
    with pytest.raises(errors.Conflict):
        await objects.write_finalizers(api, KEY, action)


async def test_removing_the_finalizer_of_a_deleted_object_succeeds(api: Any) -> None:
    action = actions.RemoveFinalizer(resource_version="5", finalizers=())
    assert await objects.write_finalizers(api, KEY, action) == actions.Done()


async def test_a_revision_is_created_with_owner_template_cluster_and_application(api: Any) -> None:
    assert await objects.create_revision(api, KEY, CREATE, namespace := Namespace()) == actions.Done()
    stored = api.stored[REVISION]
    assert stored["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert stored["data"]["cluster"] == "default"
    assert stored["data"]["application"] == CREATE.application
    assert stored["data"]["template"]["model"]["uri"] == "file:///models/digits"
    assert namespace.revisions == {"digits-abcdef0123": stored}, "the next pass sees it"


async def test_a_revision_created_by_an_earlier_attempt_is_accepted(api: Any) -> None:
    await objects.create_revision(api, KEY, CREATE, Namespace())
    assert await objects.create_revision(api, KEY, CREATE, Namespace()) == actions.Done()


async def test_a_name_that_belongs_to_another_object_is_refused(api: Any) -> None:
    await objects.create_revision(api, KEY, dataclasses.replace(CREATE, owner_uid="u0"), Namespace())
    outcome = await objects.create_revision(api, KEY, CREATE, Namespace())
    assert isinstance(outcome, actions.Refused)
    assert outcome.reason is reasons.Reason.CONFLICT


async def test_a_digest_is_pinned_without_touching_the_data(api: Any) -> None:
    namespace = Namespace()
    await objects.create_revision(api, KEY, CREATE, namespace)
    before = api.stored[REVISION]["data"]
    pin = actions.PinDigest(name="digits-abcdef0123", revision="abcdef0123", digest="sha256:" + "0" * 64)
    assert await objects.pin_digest(api, KEY, pin, namespace) == actions.Done()
    assert api.stored[REVISION]["metadata"]["annotations"] == {"fairlead.dev/digest": pin.digest}
    assert api.stored[REVISION]["data"] == before
    assert namespace.revisions["digits-abcdef0123"] == api.stored[REVISION]


async def test_a_revision_is_deleted_by_the_uid_that_was_just_read(api: Any) -> None:
    namespace = Namespace()
    await objects.create_revision(api, KEY, CREATE, namespace)
    uid = api.stored[REVISION]["metadata"]["uid"]
    gone = actions.DeleteRevision(name="digits-abcdef0123", revision="abcdef0123")
    assert await objects.delete_revision(api, KEY, gone, namespace) == actions.Done()
    assert api.writes[-1] == f"delete {REVISION} {uid}"
    assert namespace.revisions == {}
    assert await objects.delete_revision(api, KEY, gone, namespace) == actions.Done()


VARIANT = Variant(name="StaticInt8", reason=VariantReason.BEST, message="faster")
EVALUATION = Evaluation(outcome=EvaluationOutcome.ABSENT, message="there is none")
PROVED = actions.Proved(revision="r", digest="sha256:1")


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        pytest.param({"a": report()}, PROVED, id="the first answers"),
        pytest.param(
            {"a": dataclasses.replace(report(), shares_calls=False)},
            dataclasses.replace(PROVED, shares_calls=False),
            id="requests share no call",
        ),
        pytest.param(
            {"a": dataclasses.replace(report(), evaluation=EVALUATION)},
            dataclasses.replace(PROVED, evaluation=EVALUATION),
            id="an evaluation record",
        ),
        pytest.param(
            {"a": dataclasses.replace(report(), variant=VARIANT)},
            dataclasses.replace(PROVED, variant=VARIANT),
            id="a variant",
        ),
        pytest.param({"a": errors.Unreachable("away"), "b": report()}, PROVED, id="the first gateway is away"),
        pytest.param(
            {"a": report(gateway.ProofOutcome.NOT_PROVED_BY_EXAMPLE, "too small")},
            dataclasses.replace(PROVED, note="too small"),
            id="a made-up input that the model refuses is a note",
        ),
        pytest.param(
            {"a": report(gateway.ProofOutcome.FAILED, "the model failed"), "b": report()},
            actions.NotProved(revision="r", message="the model failed"),
            id="the model fails",
        ),
        pytest.param(
            {"a": errors.Refused("not valid"), "b": report()},
            actions.NotProved(revision="r", message="not valid"),
            id="the revision answers what no replica may",
        ),
        pytest.param(
            {"a": errors.Unreachable("away")},
            actions.ProofUnavailable(revision="r", message="away"),
            id="no gateway answers, which proves nothing",
        ),
    ],
)
async def test_a_proof_must_come_from_the_revision_itself(answers: dict[str, Answer], outcome: actions.Outcome) -> None:
    assert (
        await prove.prove(Gateways(answers), KEY, actions.Prove(revision="r"), builders.gateways(*answers)) == outcome
    )


async def test_a_report_without_a_word_on_the_record_proves_nothing_where_one_is_required() -> None:
    asked = actions.Prove(revision="r", needs_evaluation=True)
    answers = {"a": report(), "b": dataclasses.replace(report(), evaluation=EVALUATION)}
    outcome = await prove.prove(Gateways({"a": report()}), KEY, asked, builders.gateways("a"))
    assert isinstance(outcome, actions.ProofUnavailable)
    assert "update the image of the Ray nodes" in outcome.message
    outcome = await prove.prove(Gateways(answers), KEY, asked, builders.gateways(*answers))
    assert outcome == dataclasses.replace(PROVED, evaluation=EVALUATION)


WITH_AN_INPUT = dataclasses.replace(NOTHING, inputs={"x": signature.Tensor(datatype="FP32", shape=(-1, 4))})


@pytest.mark.parametrize(
    ("contracts", "outcome"),
    [
        pytest.param({"a": NOTHING}, PROVED, id="it keeps to it"),
        pytest.param(
            {"a": WITH_AN_INPUT},
            dataclasses.replace(PROVED, signature_changes=("input x is gone",)),
            id="it breaks it",
        ),
        pytest.param({"a": errors.Refused("503: no replica"), "b": NOTHING}, PROVED, id="another gateway can read it"),
        pytest.param(
            {"a": errors.Refused("503: no replica"), "b": errors.Unreachable("away")},
            actions.ProofUnavailable(revision="r", message="cannot read the signature of the stable revision: away"),
            id="nobody can read it, which speaks against nobody",
        ),
    ],
)
async def test_a_proof_compares_with_the_contract_that_it_is_given(
    contracts: dict[str, signature.Signature | errors.FairleadError], outcome: actions.Outcome
) -> None:
    gateways = Gateways(dict.fromkeys(contracts, report()), contracts)
    proof = actions.Prove(revision="r", contract_of="s")
    assert await prove.prove(gateways, KEY, proof, builders.gateways(*contracts)) == outcome


def update(*events: actions.Event, patch: dict[str, object] | None = None) -> actions.StatusUpdate:
    return actions.StatusUpdate(key=KEY, status={}, patch=patch, events=events, written_at=NOW)


async def test_the_status_is_written_only_when_it_changed_and_on_the_version_read(api: Any) -> None:
    api.stored[MODEL] = {"metadata": {"name": "digits", "resourceVersion": "5"}}
    await status_write.write_status(api, update(), resource_version="5")
    assert api.writes == []
    await status_write.write_status(api, update(patch={"phase": "Ready"}), resource_version="5")
    assert api.stored[MODEL]["status"] == {"phase": "Ready"}
    with pytest.raises(errors.Conflict):
        await status_write.write_status(api, update(patch={"phase": "Failed"}), resource_version="5")


def event(message: str) -> actions.Event:
    return actions.Event(type=reasons.EventType.NORMAL, reason=reasons.Reason.PROMOTED, message=message)


async def test_a_repeated_event_increments_the_count_of_one_object(api: Any) -> None:
    writer = events.EventWriter(api, instance="one", clock=HandClock())
    for _ in range(3):
        writer.send(model(), event("Revision 1 is stable."), at=NOW)
        await writer.send_waiting()
    (stored,) = api.stored.values()
    assert stored["series"]["count"] == 3
    assert stored["note"] == "Revision 1 is stable."
    assert stored["regarding"]["uid"] == "u1"
    assert stored["eventTime"] == "2026-01-02T03:04:05.678901Z"


async def test_a_flood_of_different_events_is_bounded_for_each_model(api: Any) -> None:
    clock = HandClock()
    writer = events.EventWriter(api, instance="one", clock=clock)
    for number in range(100):
        writer.send(model(), event(f"Message {number}."), at=NOW)
        await writer.send_waiting()
    assert len(api.stored) == events.BURST
    clock.seconds += 2 * events.REFILL_S
    for number in range(100, 110):
        writer.send(model(), event(f"Message {number}."), at=NOW)
        await writer.send_waiting()
    assert len(api.stored) == events.BURST + 2


def test_events_are_sent_more_slowly_while_many_models_wait_for_what_is_on_its_way(api: Any) -> None:
    writer = events.EventWriter(api, instance="one", clock=HandClock())
    alone_s = writer.pace_s
    writer.crowd = lambda: 200
    assert writer.pace_s > alone_s
    writer.crowd = lambda: 1_000_000
    assert writer.pace_s == events.PACE_MAX_S


async def test_an_event_that_cannot_be_sent_does_not_stop_the_pass(api: Any) -> None:
    writer = events.EventWriter(api, instance="one", clock=HandClock())
    api.error = errors.Forbidden("events are forbidden")
    writer.send(model(), event("One."), event("Two."), at=NOW)
    await writer.send_waiting()
    assert [stored["note"] for stored in api.stored.values()] == ["Two."]


async def test_a_long_message_is_cut_to_what_the_api_server_takes(api: Any) -> None:
    writer = events.EventWriter(api, instance="one", clock=HandClock())
    writer.send(model(), event("ä" * 2000), at=NOW)
    await writer.send_waiting()
    (stored,) = api.stored.values()
    assert len(stored["note"].encode()) <= 1024
    assert stored["note"].endswith("…")


def plan(action: actions.Action) -> actions.Plan:
    return actions.Plan(
        key=KEY, action=action, serving=Serving(), reason=reasons.Reason.STARTING, message="", requeue_after_s=1
    )


def hands(api: Any, nudged: list[keys.RayKey], namespace: Namespace) -> execute.Hands:
    return execute.Hands(
        api=api,
        gateways=Gateways({}),
        members=directory.StaticGateways({}),
        namespace=lambda _: namespace,
        nudge=nudged.append,
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(errors.Conflict("changed"), reasons.Reason.CONFLICT, id="conflict"),
        pytest.param(errors.Unreachable("away"), reasons.Reason.WRITE_FAILED, id="no answer"),
        pytest.param(errors.Refused("422"), reasons.Reason.WRITE_FAILED, id="refused"),
    ],
)
async def test_a_write_that_failed_is_an_outcome(api: Any, error: errors.FairleadError, reason: reasons.Reason) -> None:
    api.error = error
    outcome = await execute.execute(plan(actions.RetireRoute(owner_uid="u1")), hands(api, [], Namespace()))
    assert outcome == actions.Refused(reason=reason, message=str(error))


async def test_notifying_a_ray_cluster_only_queues_it(api: Any) -> None:
    nudged: list[keys.RayKey] = []
    assert (
        await execute.execute(plan(actions.NudgeServe(cluster="a")), hands(api, nudged, Namespace())) == actions.Done()
    )
    assert nudged == [keys.RayKey("ns", "a")]
    assert api.writes == []


async def test_a_new_request_is_noticed_before_the_status_is_written(api: Any) -> None:
    """The operator's write of the version that it read fails, and the request is as it was written."""
    path = MODEL
    api.stored[path] = {"metadata": {"name": "digits", "resourceVersion": "7"}, "status": {"phase": "Ready"}}
    request = {"id": "a", "verb": "Abort", "revision": "abcdef0123", "time": "2026-01-02T03:04:05Z"}
    await api.merge_patch(f"{path}/status", {"metadata": {"resourceVersion": "7"}, "status": {"request": request}})
    late = actions.StatusUpdate(key=KEY, status={}, patch={"phase": "RollingOut"}, events=(), written_at=NOW)
    with pytest.raises(errors.Conflict):
        await status_write.write_status(api, late, resource_version="7")
    assert api.stored[path]["status"] == {"phase": "Ready", "request": request}
