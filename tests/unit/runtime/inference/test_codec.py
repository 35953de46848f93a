"""What a request's JSON becomes, and what is refused before TensorFlow could see it."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import orjson
import pytest

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.inference import codec
from fairlead_runtime.model.signature import DType, TensorSpec


def spec(dtype: DType = DType.FLOAT32, shape: tuple[int | None, ...] | None = (None, 2)) -> TensorSpec:
    return TensorSpec(name="x", dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        pytest.param(DType.FLOAT32, [[1, 2.5]], np.array([[1, 2.5]], np.float32), id="numbers become floats"),
        pytest.param(DType.INT64, [[1, -2]], np.array([[1, -2]], np.int64), id="whole numbers stay whole"),
        pytest.param(DType.UINT64, [[2**64 - 1, 0]], np.array([[2**64 - 1, 0]], np.uint64), id="the largest uint64"),
        pytest.param(DType.INT64, [[-(2**63), 0]], np.array([[-(2**63), 0]], np.int64), id="the smallest int64"),
        pytest.param(DType.BOOL, [[True, False]], np.array([[True, False]]), id="booleans"),
        pytest.param(DType.UINT8, [[0, 255]], np.array([[0, 255]], np.uint8), id="bytes"),
    ],
)
def test_json_becomes_a_tensor_of_the_signatures_dtype(dtype: DType, value: object, expected: np.ndarray) -> None:
    array = codec.from_json(spec(dtype), value)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("dtype", [DType.FLOAT16, DType.FLOAT32, DType.FLOAT64])
def test_missing_values_and_infinities_are_floats_as_others_are(dtype: DType) -> None:
    array = codec.from_json(spec(dtype), [[math.nan, 1], [None, -math.inf], [math.inf, 2]])
    assert array.dtype == dtype.numpy
    np.testing.assert_array_equal(array, np.array([[np.nan, 1], [np.nan, -np.inf], [np.inf, 2]], dtype.numpy))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (40, 1000)])
def test_numbers_that_are_not_finite_are_written_as_words_where_the_protocol_has_them(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 0.1, np.float32)
    array.reshape(-1)[:3] = (np.nan, np.inf, -np.inf)[: array.size]
    text = orjson.dumps(codec.to_json(array, with_words=True), option=orjson.OPT_SERIALIZE_NUMPY)
    np.testing.assert_array_equal(np.array(json.loads(text), np.float32), array)
    without = orjson.loads(orjson.dumps(codec.to_json(array), option=orjson.OPT_SERIALIZE_NUMPY))
    assert np.isnan(np.array(without, np.float64)).sum() == min(3, array.size)


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        pytest.param(DType.FLOAT32, [[1, 2], [3]], "not rectangular", id="ragged rows"),
        pytest.param(DType.FLOAT32, [[1, 2, 3]], "expected shape [-1, 2], got [1, 3]", id="a row too long"),
        pytest.param(DType.FLOAT32, [1, 2], "expected shape [-1, 2], got [2]", id="rank too low"),
        pytest.param(DType.FLOAT32, [[[1, 2]]], "expected shape [-1, 2], got [1, 1, 2]", id="rank too high"),
        pytest.param(DType.FLOAT32, 3, "expected shape", id="a scalar"),
        pytest.param(DType.FLOAT32, [], "empty", id="no rows"),
        pytest.param(DType.FLOAT32, [[]], "empty", id="rows without numbers"),
        pytest.param(DType.FLOAT32, [["1", "2"]], "must be numbers", id="numbers in quotes"),
        pytest.param(DType.FLOAT32, [["nan", 1]], "must be numbers", id="nan in quotes"),
        pytest.param(DType.FLOAT32, [[None, "1"]], "must be numbers", id="null and a number in quotes"),
        pytest.param(DType.FLOAT32, None, "expected shape", id="nothing but null"),
        pytest.param(DType.FLOAT32, [[None, 1e300]], "not finite in float32", id="null and a number too large"),
        pytest.param(DType.INT64, [[None, 1]], "must be integers", id="null for integers"),
        pytest.param(DType.BOOL, [[None, True]], "must be booleans", id="null for booleans"),
        pytest.param(DType.STRING, [[None, "a"]], "must be strings", id="null for strings"),
        pytest.param(DType.FLOAT32, [[{"a": 1}, 1]], "must be numbers", id="an object"),
        pytest.param(DType.FLOAT32, {"a": [1, 2]}, "must be numbers", id="an object instead of a list"),
        pytest.param(DType.FLOAT32, [[True, False]], "must be numbers", id="booleans for floats"),
        pytest.param(DType.FLOAT32, [[1e300, 1]], "not finite in float32", id="too large for float32"),
        pytest.param(DType.FLOAT16, [[70000, 1]], "not finite in float16", id="too large for float16"),
        pytest.param(DType.FLOAT32, [[10**400, 1]], "not finite in float32", id="an integer of 400 digits"),
        pytest.param(DType.INT32, [[1.0, 2.0]], "must be integers", id="floats for integers"),
        pytest.param(DType.INT32, [[2**31, 0]], "outside int32", id="int32 overflow"),
        pytest.param(DType.INT64, [[2**63, 0]], "outside int64", id="int64 overflow"),
        pytest.param(DType.INT64, [[2**63, -1]], "outside int64", id="no integer type holds both"),
        pytest.param(DType.INT64, [[10**40, 0]], "outside int64", id="an integer of 41 digits for int64"),
        pytest.param(DType.UINT8, [[-1, 0]], "outside uint8", id="negative for unsigned"),
        pytest.param(DType.BOOL, [[1, 0]], "must be booleans", id="numbers for booleans"),
        pytest.param(DType.STRING, [["a"]], "expected shape", id="strings of a wrong shape"),
        pytest.param(DType.STRING, [["a", "b"], ["c"]], "not rectangular", id="ragged strings"),
        pytest.param(DType.STRING, [["a", 1]], "must be strings", id="a number among strings"),
        pytest.param(DType.STRING, [["a", {"b64": "%%%"}]], "not base64", id="b64 that is none"),
        pytest.param(DType.STRING, [["a", {"b64": "YQ==", "c": 1}]], "must be strings", id="b64 with another key"),
    ],
)
def test_data_that_does_not_match_the_signature_is_refused_with_the_name_of_the_input(
    dtype: DType, value: object, words: str
) -> None:
    with pytest.raises(RequestError) as refused:
        codec.from_json(spec(dtype), value)
    assert refused.value.reason is RequestReason.INVALID_INPUT
    assert refused.value.sentence.startswith("input 'x': ")
    assert words in refused.value.sentence


def test_too_deeply_nested_data_is_refused() -> None:
    value: object = 1.0
    for _ in range(500):
        value = [value]
    for dtype in (DType.FLOAT32, DType.STRING):
        with pytest.raises(RequestError):
            codec.from_json(spec(dtype, None), value)


def test_base64_strings_become_their_bytes() -> None:
    array = codec.from_json(spec(DType.STRING, (None,)), [{"b64": base64.b64encode(b"\xff\x00").decode()}, "ä"])
    assert array.tolist() == [b"\xff\x00", "ä".encode()]


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
def test_data_with_a_shape_may_be_flat_or_nested(data: object) -> None:
    assert codec.from_flat(spec(), data, [2, 2]).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("data", "shape"),
    [([1, 2, 3], [2, 2]), ([[1, 2, 3, 4]], [2, 2]), ([1, 2], [1, 1, 2]), ([1], [2**31 - 1, 2**31 - 1]), ([], [0, 2])],
)
def test_data_that_does_not_fit_its_shape_is_refused(data: object, shape: list[int]) -> None:
    with pytest.raises(RequestError):
        codec.from_flat(spec(), data, shape)


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    with pytest.raises(RequestError, match="different numbers of rows"):
        codec.check_rows([spec(), spec()], [np.zeros((1, 2)), np.zeros((2, 2))])


def test_strings_that_are_not_text_go_out_as_base64() -> None:
    assert codec.to_json(np.array([b"ok", b"\xff"], object)) == ["ok", {"b64": "/w=="}]


def test_half_precision_goes_out_as_numbers() -> None:
    assert np.asarray(codec.to_json(np.array([0.5], np.float16))).tolist() == [0.5]
