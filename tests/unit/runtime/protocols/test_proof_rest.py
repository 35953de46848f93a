"""`POST /v2/models/NAME/proof`: what a replica reports of its own example."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import orjson
import pytest
from tests.support.replica_parts import (
    DIGEST,
    REVISION,
    DoublingModel,
    Setting,
    answer_of,
    assemble,
    assemble_inline,
    float_signature,
    request,
)

from fairlead_runtime.inference.batching import Sharing
from fairlead_runtime.inference.dataplane import Phase
from fairlead_runtime.model import evaluation_record
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Tensors
from fairlead_runtime.model.variant import VariantChoice, VariantReason
from fairlead_runtime.model.warmup import Speed, WarmUp
from fairlead_runtime.protocols.http import Response

PATH = "/v2/models/digits/proof"
TENSOR = {"datatype": "FP32", "shape": [-1, 4]}


def report(setting: Setting | None = None) -> tuple[int, dict[str, Any]]:
    answer = answer_of(assemble_inline(setting).handler, request("POST", PATH))
    return answer.status, orjson.loads(answer.body)


def test_a_replica_runs_its_example_and_reports_digest_and_signature() -> None:
    model = DoublingModel()
    status, body = report(Setting(model=model))
    assert (status, model.rows) == (200, [1])
    assert body == {
        "schema": 1,
        "revision": REVISION,
        "digest": DIGEST,
        "outcome": "Proved",
        "message": "",
        "sharesCalls": True,
        "evaluation": {"outcome": "Absent", "message": "there is no file evaluation.json beside the model"},
        "variant": None,
        "inputs": [{"name": "x", **TENSOR}],
        "outputs": [{"name": "y", **TENSOR}],
    }


def test_a_replica_reports_which_variant_it_serves_and_why() -> None:
    choice = VariantChoice(name="StaticInt8", reason=VariantReason.BEST, why="it is\nfaster")
    found = {"name": "StaticInt8", "reason": "Best", "message": "it is faster"}
    assert report(Setting(variant=choice))[1]["variant"] == found


def test_a_replica_says_of_each_of_nine_variants_by_how_much_it_broke_a_bound() -> None:
    refusal = (
        "StructuredPruning25: accuracy falls by 0.0371 (from 0.9833 to 0.9458 on 240 samples), more than maxDrop 0.01"
    )
    why = "the float model serves, as " + "; ".join([refusal] * 9)
    assert 900 < len(why) <= 1024
    choice = VariantChoice(name="Float", reason=VariantReason.REFUSED, why=why)
    assert report(Setting(variant=choice))[1]["variant"]["message"] == why


@pytest.mark.parametrize("is_proved", [True, False])
def test_a_replica_says_whether_requests_may_share_a_call(is_proved: bool) -> None:
    assert report(Setting(sharing=Sharing(is_proved=is_proved)))[1]["sharesCalls"] is is_proved


def test_a_replica_reports_the_figure_of_its_evaluation_record_and_not_its_table() -> None:
    record = evaluation_record.EvaluationRecord(
        metric=evaluation_record.Metric.ACCURACY,
        value=0.9,
        interval=evaluation_record.wilson(9, 10),
        samples=10,
        correct=9,
        signature="serving_default",
        model_digest=DIGEST,
        data=evaluation_record.Data(name="heldout.npz", digest=DIGEST),
    )
    found = evaluation_record.Found(outcome=evaluation_record.Outcome.READ, record=record)
    assert report(Setting(evaluation=found))[1]["evaluation"] == {
        "outcome": "Read",
        "message": "",
        "metric": "Accuracy",
        "value": 0.9,
        "low": pytest.approx(0.5958, abs=1e-4),
        "high": pytest.approx(0.9821, abs=1e-4),
        "samples": 10,
    }


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (InputRefusedError("Input is empty."), "NotProvedByExample", "Input is empty."),
        (ModelFailedError("Table not initialized."), "Failed", "the model failed (ModelFailedError)"),
    ],
)
def test_a_refused_example_does_not_fail_the_proof(error: Exception, outcome: str, words: str) -> None:
    def model(_: Tensors) -> Tensors:
        raise error

    status, body = report(Setting(model=model))
    assert (status, body["outcome"], body["digest"]) == (200, outcome, DIGEST)
    assert words in body["message"]


def test_without_an_example_the_model_is_not_called() -> None:
    model = DoublingModel()
    none = WarmUp(speed=Speed(call_s={}), example=None, refusal="the model refuses a made-up input of 1 row: too small")
    status, body = report(Setting(model=model, warm_up=none))
    assert (status, body["outcome"], body["message"]) == (200, "NotProvedByExample", none.refusal)
    assert model.rows == []


def test_the_report_has_a_bounded_size_whatever_the_model_returns() -> None:
    def model(_: Tensors) -> Tensors:
        raise InputRefusedError("long " * 1000)

    answer = answer_of(assemble_inline(Setting(model=model)).handler, request("POST", PATH))
    assert len(answer.body) < 1000


def test_a_replica_that_is_not_ready_refuses_the_proof() -> None:
    parts = assemble_inline()
    parts.plane.phase = Phase.LOADING
    assert answer_of(parts.handler, request("POST", PATH)).status == 503


def test_a_proof_is_asked_for_by_post_and_gives_no_feedback_token() -> None:
    handler = assemble_inline().handler
    assert answer_of(handler, request("GET", PATH)).status == 405
    answer = answer_of(handler, request("POST", PATH))
    assert (answer.protocol, answer.headers) == ("proof", ())


async def test_a_proof_of_a_slow_model_does_not_block_the_server() -> None:
    setting = Setting(call_s=math.inf, signature=float_signature())
    parts = assemble(asyncio.get_running_loop(), setting)
    answer = parts.handler.handle(request("POST", PATH))
    assert isinstance(answer, asyncio.Future)
    done: Response = await answer
    parts.plane.close()
    assert orjson.loads(done.body)["outcome"] == "Proved"
