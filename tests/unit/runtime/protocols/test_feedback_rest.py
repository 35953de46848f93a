"""From the answer's header to the count, by requests alone."""

from __future__ import annotations

import orjson
import pytest
from tests.support import replica_parts
from tests.support.replica_parts import (
    MODEL,
    NAME,
    REVISION,
    Setting,
    answer_of,
    assemble_inline,
    float_signature,
    request,
)

from fairlead_runtime.protocols.http import Response

FEEDBACK = f"/v2/models/{MODEL}/feedback"
ROW = [0.1, 0.2, 0.9, 0.3]


def setting(**changes: object) -> Setting:
    return Setting(signature=float_signature(rows=None), **changes)  # type: ignore[arg-type]


def infer(parts: replica_parts.Parts, rows: int = 1) -> Response:
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": ROW * rows}
    return answer_of(parts.handler, request("POST", f"/v2/models/{MODEL}/infer", {"inputs": [tensor]}))


def token_of(answer: Response) -> str:
    return dict(answer.headers)[b"x-fairlead-feedback"].decode()


def send(parts: replica_parts.Parts, body: object) -> tuple[int, dict[str, object]]:
    answer = answer_of(parts.handler, request("POST", FEEDBACK, body))
    return answer.status, orjson.loads(answer.body)


def test_an_answer_of_v2_carries_a_token_that_the_feedback_path_takes() -> None:
    parts = assemble_inline(setting())

    status, body = send(parts, {"token": token_of(infer(parts)), "label": 2})

    assert (status, body) == (200, {"labelled": 1, "correct": 1, "repeated": 0})
    assert parts.metrics.measured.labels(REVISION).body() == {"labelled": 1, "correct": 1}


@pytest.mark.parametrize("body", [{"instances": [ROW]}, {"inputs": [ROW]}], ids=["rows", "columns"])
def test_an_answer_of_v1_predict_carries_a_token(body: object) -> None:
    parts = assemble_inline(setting())
    answer = answer_of(parts.handler, request("POST", f"/v1/models/{MODEL}:predict", body))

    assert send(parts, {"token": token_of(answer), "label": 0})[1] == {"labelled": 1, "correct": 0, "repeated": 0}


def test_a_binary_answer_carries_a_token_beside_its_own_header() -> None:
    parts = assemble_inline(setting())
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}
    body = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    answer = answer_of(parts.handler, request("POST", f"/v2/models/{MODEL}/infer", body))

    assert {name for name, _ in answer.headers} == {b"x-fairlead-feedback", b"inference-header-content-length"}


def test_a_replica_of_another_revision_counts_feedback_for_the_predicting_revision() -> None:
    mine, other = assemble_inline(setting()), assemble_inline(setting(revision="7ab0c9d1e2"))

    send(other, {"token": token_of(infer(mine)), "label": 2})

    assert other.metrics.measured.feedback.keys() == {REVISION}


def test_the_header_may_carry_the_token_in_place_of_the_body() -> None:
    parts = assemble_inline(setting())
    headers = {b"x-fairlead-feedback": token_of(infer(parts)).encode()}

    answer = answer_of(parts.handler, request("POST", FEEDBACK, {"label": 2}, headers))

    assert orjson.loads(answer.body) == {"labelled": 1, "correct": 1, "repeated": 0}


def test_each_feedback_of_a_list_is_handled_by_itself() -> None:
    parts = assemble_inline(setting())
    token, batch = token_of(infer(parts)), token_of(infer(parts, rows=3))
    items = [
        {"token": token, "label": 2},
        {"token": token, "label": 2},
        {"token": batch, "label": [2, 2, 1]},
        {"token": "made up", "label": 2},
    ]

    status, body = send(parts, {"feedback": items})

    assert status == 200
    assert (body["labelled"], body["correct"], body["repeated"]) == (4, 3, 1)
    assert body["refused"] == [{"index": 3, "error": "the token is not one of the form that answers carry"}]


@pytest.mark.parametrize(
    ("elsewhere", "status", "kind", "words"),
    [
        pytest.param({"namespace": "team-b"}, 403, "foreign", "another model or namespace", id="another namespace"),
        pytest.param({"secret": "another cluster's"}, 403, "forged", "not issued by this model", id="another cluster"),
    ],
)
def test_a_foreign_token_is_refused_with_a_reason_and_counted_by_kind(
    elsewhere: dict[str, str], status: int, kind: str, words: str
) -> None:
    parts, other = assemble_inline(setting()), assemble_inline(setting(**elsewhere))

    code, body = send(parts, {"token": token_of(infer(other)), "label": 2})

    assert code == status
    assert words in str(body["error"])
    assert parts.metrics.feedback_refused == {kind: 1}
    assert parts.metrics.measured.feedback == {}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"label": 1}, "malformed"),
        ({"token": 5, "label": 1}, "malformed"),
        ({"token": "AAAA", "label": 1}, "malformed"),
        ({"feedback": []}, None),
        ({"feedback": [{}] * 257}, None),
        (b"[", None),
    ],
)
def test_invalid_feedback_gets_400(body: object, kind: str | None) -> None:
    parts = assemble_inline(setting())

    assert send(parts, body)[0] == 400
    assert parts.metrics.feedback_refused == ({kind: 1} if kind else {})


def test_an_invalid_label_gets_400_and_the_expected_form() -> None:
    parts = assemble_inline(setting())

    status, body = send(parts, {"token": token_of(infer(parts)), "label": "cat"})

    assert (status, "index of the true class" in str(body["error"])) == (400, True)
    assert parts.metrics.feedback_refused == {"label": 1}


def test_without_the_token_of_ray_feedback_is_switched_off() -> None:
    parts = assemble_inline(setting(secret=None))

    assert infer(parts).headers == ()
    status, body = send(parts, {"token": "x", "label": 1})
    assert (status, "no authentication token" in str(body["error"])) == (503, True)


def test_a_get_is_refused() -> None:
    assert answer_of(assemble_inline(setting()).handler, request("GET", FEEDBACK)).status == 405


def test_measurements_and_metrics_show_what_was_counted() -> None:
    parts = assemble_inline(setting())
    send(parts, {"token": token_of(infer(parts)), "label": 2})
    send(parts, {"token": "AAAA", "label": 2})

    measured = orjson.loads(answer_of(parts.handler, request("GET", f"/-/measurements/{NAME}")).body)
    shown = answer_of(parts.handler, request("GET", "/metrics")).body.decode()

    assert measured["instance"] == parts.metrics.measured.instance
    assert measured["feedback"] == {REVISION: {"labelled": 1, "correct": 1}}
    assert len(measured["scores"]["counts"]) == len(measured["scores"]["bounds"]) + 1
    assert sum(measured["scores"]["counts"]) == 1
    own = f'replica="{NAME}",revision="{REVISION}"'
    counted = f'outcome="correct",predicted_by="{REVISION}"'
    assert f'fairlead_replica_feedback_total{{model="digits",namespace="default",{counted},{own}}} 1.0' in shown
    refused = 'fairlead_replica_feedback_refused_total{kind="malformed",model="digits",namespace="default"'
    assert f"{refused},{own}}} 1.0" in shown
    assert f'fairlead_replica_top_score_bucket{{le="2.0",model="digits",namespace="default",{own}}} 1.0' in shown


def test_measurements_under_the_name_of_another_replica_are_refused() -> None:
    assert answer_of(assemble_inline().handler, request("GET", f"/-/measurements/{REVISION}-0000")).status == 410
