"""Rows of answered requests are counted in sketches: one of a request, no more than so many a second."""

from __future__ import annotations

import dataclasses
import re
import weakref

import numpy as np
import pytest
from tests.support import replica_parts
from tests.support.hand_clock import HandClock
from tests.support.replica_parts import Parts, Setting

from fairlead_runtime import sketches
from fairlead_runtime.inference import sampling, tops
from fairlead_runtime.inference.sampling import RowSampler
from fairlead_runtime.model.row_features import RowReader
from fairlead_runtime.protocols.http import Response
from fairlead_runtime.sketches import Sketch

SIGNATURE = replica_parts.float_signature()
MODEL = replica_parts.MODEL


def make_sketches() -> tuple[Sketch, Sketch, Sketch]:
    return (
        sketches.of_numbers("input0_1", (0.5,), (10, 10, 0)),
        sketches.of_numbers("score", (1.5,), (10, 10, 0)),
        sketches.of_classes("class", (0, 3), (10, 10, 0)),
    )


def counts(made: tuple[Sketch, ...]) -> list[list[int]]:
    return [sketch.counts for sketch in made]


def test_a_row_is_counted_with_its_own_answer() -> None:
    made = make_sketches()
    sampler = RowSampler(SIGNATURE, RowReader(SIGNATURE, {}), made, pick=lambda rows: rows - 1)
    sampler.sample(
        (np.array([[0, 0, 0, 0], [0, 9, 0, 0]], np.float32),),
        (np.array([[9, 0, 0, 0], [0, 0, 0, 1]], np.float32),),
    )
    assert counts(made) == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_nothing_of_a_sampled_row_is_kept() -> None:
    made = make_sketches()
    sampler = RowSampler(SIGNATURE, RowReader(SIGNATURE, {}), made)
    inputs, outputs = np.full((2, 4), 4711.0625, np.float32), np.full((2, 4), 4712.0625, np.float32)
    row, answer = weakref.ref(inputs), weakref.ref(outputs)
    sampler.sample((inputs,), (outputs,))
    del inputs, outputs
    assert (row(), answer()) == (None, None)
    assert [sum(sketch.counts) for sketch in made] == [1, 1, 1]
    # A count for each bin, and what was there before the row: names, bins and counts of the reference.
    fresh = make_sketches()
    for sketch, before in zip(made, fresh, strict=True):
        assert {type(count) for count in sketch.counts} == {int}
        assert (sketch.feature, sketch.bins, sketch.reference) == (before.feature, before.bins, before.reference)


def test_rows_are_sampled_at_a_bounded_rate() -> None:
    made, clock = make_sketches(), HandClock()
    sampler = RowSampler(SIGNATURE, RowReader(SIGNATURE, {}), made, clock=clock.monotonic_s)
    one = (np.zeros((1, 4), np.float32),)
    for _ in range(3000):
        sampler.sample(one, one)
        clock.seconds += 0.001
    assert sum(made[0].counts) == pytest.approx(3 / sampling.SPACING_S, rel=0.1)


def test_only_the_first_rows_of_a_request_are_looked_at() -> None:
    made, asked = make_sketches(), list[int]()

    def pick(rows: int) -> int:
        asked.append(rows)
        return 0

    many = (np.zeros((5000, 4), np.float32),)
    RowSampler(SIGNATURE, RowReader(SIGNATURE, {}), made, pick=pick).sample(many, many)
    assert asked == [tops.ROWS_MAX]


@pytest.mark.parametrize(
    ("shape", "rows", "values"),
    [
        pytest.param((None, 4), np.eye(4, dtype=np.float32)[[3, 2, 1]], (1,), id="scores"),
        pytest.param((4,), np.eye(4, dtype=np.float32)[1], None, id="an output without rows has no last one"),
    ],
)
def test_the_answer_of_the_sampled_row_alone_is_read(
    shape: tuple[int | None, ...], rows: tops.Array, values: tuple[int] | None
) -> None:
    output = dataclasses.replace(SIGNATURE.outputs[0], shape=shape)
    found = tops.row_reader(dataclasses.replace(SIGNATURE, outputs=(output,)))((rows,), 2)
    assert (None if found is None else found.values) == values


def test_a_prediction_is_answered_when_its_row_cannot_be_read(caplog: pytest.LogCaptureFixture) -> None:
    made, clock, asked = make_sketches(), HandClock(), list[int]()

    def pick(rows: int) -> int:
        asked.append(rows)
        raise ArithmeticError("a defect")

    sampler = RowSampler(SIGNATURE, RowReader(SIGNATURE, {}), made, clock=clock.monotonic_s, pick=pick)
    one = (np.zeros((1, 4), np.float32),)
    for _ in range(3):
        sampler.sample(one, one)
        clock.seconds += 1
    assert asked == [1]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_an_empty_request_and_a_score_that_is_no_number_are_no_trouble() -> None:
    made = make_sketches()
    sampler = RowSampler(SIGNATURE, RowReader(SIGNATURE, {}), made)
    empty = (np.zeros((0, 4), np.float32),)
    sampler.sample(empty, empty)
    assert counts(made) == [[0, 0, 0], [0, 0, 0], [0, 0, 0]]
    wrong = (np.full((1, 4), np.nan, np.float32),)
    sampler.sample(wrong, wrong)
    assert counts(made) == [[0, 0, 1], [0, 0, 1], [0, 0, 1]]


def exported(parts: Parts, metric: str) -> dict[tuple[str, str], float]:
    lines = re.findall(rf"^{metric}{{(.*)}} (.*)$", parts.metrics.text().decode(), re.MULTILINE)
    labels = [(dict(re.findall(r'(\w+)="([^"]*)"', text)), float(value)) for text, value in lines]
    return {(each["feature"], each["bin"]): value for each, value in labels if value}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            f"/v2/models/{MODEL}/infer",
            {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 0.2, 0, 9]}]},
        ),
        (f"/v1/models/{MODEL}:predict", {"instances": [[0, 0.2, 0, 9]]}),
    ],
)
def test_a_replica_counts_what_it_answers_in_bins_of_the_reference(path: str, body: object) -> None:
    parts = replica_parts.assemble_inline(Setting(sketches=make_sketches()))
    answer = parts.handler.handle(replica_parts.request("POST", path, body))
    assert isinstance(answer, Response)
    assert answer.status == 200
    assert exported(parts, "fairlead_replica_sampled_rows_total") == {
        ("input0_1", "00"): 1,
        ("score", "01"): 1,
        ("class", "3"): 1,
    }
    reference = exported(parts, "fairlead_replica_reference_rows")
    assert {key: value for key, value in reference.items() if key[0] == "class"} == {
        ("class", "0"): 10,
        ("class", "3"): 10,
    }


def test_a_refused_request_is_not_counted() -> None:
    parts = replica_parts.assemble_inline(Setting(sketches=make_sketches()))
    answer = parts.handler.handle(
        replica_parts.request("POST", f"/v1/models/{MODEL}:predict", {"instances": [["a text"]]})
    )
    assert isinstance(answer, Response)
    assert answer.status == 400
    assert exported(parts, "fairlead_replica_sampled_rows_total") == {}
