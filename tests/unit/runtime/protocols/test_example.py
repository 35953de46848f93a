"""The example that a person gives is read as a client's request is, and what is wrong with it is said."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from tests.support import warmup_records
from tests.support.replica_parts import float_signature

from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols import example
from fairlead_runtime.protocols.grpc import warmup_records as read_records

ROWS = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]
ARRAY = np.array(ROWS, np.float32)
STRINGS = Signature(
    name="serving_default",
    method="",
    inputs=(TensorSpec(name="s", dtype=DType.STRING, shape=(None,)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None,)),),
)


def lists(found: tuple[Tensors, ...]) -> list[list[object]]:
    return [[array.tolist() for array in inputs] for inputs in found]


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ROWS},
        {"instances": [{"x": row} for row in ROWS]},
        {"inputs": ROWS},
        {"inputs": {"x": ROWS}},
        {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": ROWS}]},
    ],
)
def test_an_example_is_a_body_of_either_protocol(tmp_path: Path, body: object) -> None:
    assert lists(example.read(json.dumps(body), tmp_path, float_signature())) == [[ROWS]]


def test_encoded_bytes_are_given_as_in_a_request(tmp_path: Path) -> None:
    given = '{"instances": [{"b64": "/9j/"}, "text"]}'
    assert lists(example.read(given, tmp_path, STRINGS)) == [[[b"\xff\xd8\xff", b"text"]]]
    given = '{"inputs": [{"b64": "/9j/"}]}'
    assert lists(example.read(given, tmp_path, STRINGS)) == [[[b"\xff\xd8\xff"]]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{", "not JSON"),
        ("{}", "exactly one of instances (rows) and inputs (columns)"),
        ('{"instances": [[1, 2]]}', "input 'x': expected shape [-1, 4], got [1, 2]"),
        ('{"instances": [{"z": [1, 2, 3, 4]}]}', "instances[0] must be an object with exactly 'x'"),
        ('{"inputs": [{"name": "z", "shape": [1], "datatype": "FP32", "data": [1]}]}', "there is no input 'z'"),
        ('{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT8", "data": [1, 2, 3, 4]}]}', "expected datatype"),
    ],
)
def test_an_example_that_does_not_fit_names_the_field_and_what_is_wrong(tmp_path: Path, given: str, words: str) -> None:
    with pytest.raises(LoadError) as error:
        example.read(given, tmp_path, float_signature())
    assert error.value.reason is LoadReason.EXAMPLE_INVALID
    assert error.value.sentence.startswith("spec.model.example: ")
    assert words in error.value.sentence
    assert error.value.sentence.endswith("give a request body that fits the signature 'serving_default'")


def test_without_an_example_there_is_none(tmp_path: Path) -> None:
    assert example.read(None, tmp_path, float_signature()) == ()


def test_the_requests_that_a_saved_model_carries_are_read(tmp_path: Path) -> None:
    logs = [warmup_records.predict({"x": ARRAY}), warmup_records.predict({"x": ARRAY[:1]}, "serving_default")]
    warmup_records.write(tmp_path, logs)
    assert lists(example.read(None, tmp_path, float_signature())) == [[ROWS], [ROWS[:1]]]
    given = '{"instances": [[0, 0, 0, 0]]}'
    assert lists(example.read(given, tmp_path, float_signature())) == [[[[0.0] * 4]]], "the field counts before them"


def test_tf_examples_of_the_file_are_the_one_string_tensor(tmp_path: Path) -> None:
    warmup_records.write(tmp_path, [warmup_records.classify(b"", b"\x0a\x00")])
    assert lists(example.read(None, tmp_path, STRINGS)) == [[[b"", b"\x0a\x00"]]]


def test_requests_for_other_signatures_and_of_other_kinds_are_left_out(tmp_path: Path) -> None:
    other = warmup_records.predict({"z": ARRAY}, "another")
    session_run = warmup_records.field(5, b"")
    warmup_records.write(tmp_path, [other, session_run, warmup_records.predict({"x": ARRAY})])
    assert lists(example.read(None, tmp_path, float_signature())) == [[ROWS]]


def test_no_more_records_are_read_than_the_bound(tmp_path: Path) -> None:
    warmup_records.write(tmp_path, [warmup_records.predict({"x": ARRAY})] * 40)
    assert len(example.read(None, tmp_path, float_signature())) == read_records.RECORDS_MAX


GOOD = warmup_records.records([warmup_records.predict({"x": ARRAY})])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD + GOOD[:-5], "record 2 is cut off"),
        (GOOD + b"\x01", "record 2 is damaged"),
        (struct.pack("<QI", 2**62, 0), "record 1 is damaged"),
        (warmup_records.records([b"\xff"]), "record 1: it can't be read as a PredictionLog"),
        (warmup_records.records([warmup_records.predict({"x": ARRAY[:, :2]})]), "record 1: input 'x': expected shape"),
        (warmup_records.records([warmup_records.predict({"z": ARRAY})]), "record 1: inputs must hold exactly 'x'"),
    ],
)
def test_a_record_that_does_not_fit_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    warmup_records.write(tmp_path, [])
    (tmp_path / warmup_records.PLACE).write_bytes(content)
    with pytest.raises(LoadError) as error:
        example.read(None, tmp_path, float_signature())
    assert error.value.reason is LoadReason.EXAMPLE_INVALID
    assert error.value.sentence.startswith(f"{warmup_records.PLACE}: ")
    assert words in error.value.sentence
    assert error.value.sentence.endswith(": correct the file or remove it")
