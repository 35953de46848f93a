"""When two answers count as different."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.replica_parts import MODEL, answer_of, assemble_inline, request

from fairlead_runtime.protocols.http import dump
from fairlead_runtime.shadow import compare


def v1(value: object, *, key: str = "predictions") -> compare.Outputs:
    return compare.decode(dump({key: value}), None, protocol="v1")


def v2(*outputs: dict[str, Any]) -> compare.Outputs:
    return compare.decode(dump({"outputs": list(outputs)}), None, protocol="v2")


def tensor(data: object, *, datatype: str = "FP32", name: str = "y") -> dict[str, Any]:
    array = np.array(data)
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.reshape(-1).tolist()}


@pytest.mark.parametrize(
    ("ours", "theirs", "differs"),
    [
        pytest.param([[0.1, 0.9]], [[0.4, 0.6]], False, id="the same class with another score"),
        pytest.param([[0.1, 0.9]], [[0.6, 0.4]], True, id="another class"),
        pytest.param([[0.9, 0.1]], [[None, None]], True, id="NaN, which argmax takes for the first class"),
        pytest.param([[0.1, 0.9], [0.8, 0.2]], [[0.1, 0.9], [0.2, 0.8]], True, id="another class in one row"),
        pytest.param([[0.1, 0.9]], [[0.1, 0.9], [0.1, 0.9]], True, id="more rows"),
        pytest.param([[0.1, 0.9]], [[0.05, 0.9, 0.05]], True, id="more classes"),
        pytest.param([[10.0]], [[10.05]], False, id="a number within one percent"),
        pytest.param([[10.0]], [[10.2]], True, id="a number beyond"),
        pytest.param([0.0, 10.0], [0.0005, 10.0], False, id="near zero"),
        pytest.param([0.0], [0.01], True, id="not so near zero"),
        pytest.param([None, 1.0], [None, 1.0], False, id="not a number on both sides"),
        pytest.param([None, 1.0], [1.0, 1.0], True, id="not a number on one side"),
        pytest.param([200], [201], True, id="whole numbers have no tolerance"),
        pytest.param([1], [1.0], True, id="another datatype"),
        pytest.param(["a", "b"], ["a", "c"], True, id="strings"),
        pytest.param([{"b64": "AA=="}], [{"b64": "AA=="}], False, id="bytes"),
        pytest.param([True], [False], True, id="booleans"),
        pytest.param([{"a": 1.0, "b": "x"}], [{"a": 1.0, "b": "x"}], False, id="several outputs"),
        pytest.param([{"a": 1.0, "b": "x"}], [{"a": 1.0, "b": "y"}], True, id="one of several differs"),
        pytest.param([{"a": 1.0}], [{"b": 1.0}], True, id="another output"),
    ],
)
def test_answers_of_v1(ours: object, theirs: object, differs: bool) -> None:
    assert compare.is_different(v1(ours), v1(theirs)) is differs


def test_columns_of_v1_compare_like_rows() -> None:
    assert not compare.is_different(v1([[0.1, 0.9]], key="outputs"), v1([[0.2, 0.8]], key="outputs"))
    assert compare.is_different(v1({"a": [1.0]}, key="outputs"), v1({"a": [2.0]}, key="outputs"))


@pytest.mark.parametrize(
    ("ours", "theirs", "differs"),
    [
        pytest.param(tensor([[0.1, 0.9]]), tensor([[0.4, 0.6]]), False, id="the same class"),
        pytest.param(tensor([[0.1, 0.9]]), tensor([[0.6, 0.4]]), True, id="another class"),
        pytest.param(tensor([[0.1, 0.9]]), tensor([[0.1, 0.9]], datatype="FP64"), True, id="another datatype"),
        pytest.param(tensor([[1.0]]), tensor([[1.0]], name="z"), True, id="another name"),
        pytest.param(tensor([1], datatype="INT64"), tensor([2], datatype="INT64"), True, id="whole numbers"),
        pytest.param(tensor(["a"], datatype="BYTES"), tensor(["a"], datatype="BYTES"), False, id="strings"),
    ],
)
def test_answers_of_v2(ours: dict[str, Any], theirs: dict[str, Any], differs: bool) -> None:
    assert compare.is_different(v2(ours), v2(theirs)) is differs


@given(hnp.arrays(np.float32, (2, 4), elements=st.floats(-1024, 1024, width=32)), st.booleans())
def test_an_answer_never_differs_from_itself(x: np.ndarray, as_binary: bool) -> None:
    given_tensor = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": x.reshape(-1).tolist()}
    body = {"inputs": [given_tensor], "parameters": {"binary_data_output": as_binary}}
    answer = answer_of(assemble_inline().handler, request("POST", f"/v2/models/{MODEL}/infer", body))
    length = dict(answer.headers).get(b"inference-header-content-length")

    outputs = compare.decode(answer.body, length, protocol="v2")

    assert list(outputs) == ["y"]
    assert not compare.is_different(outputs, compare.decode(answer.body, length, protocol="v2"))


words = st.sampled_from(["predictions", "outputs", "name", "datatype", "shape", "data"])
values = st.recursive(st.none() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(words, one))


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@given(st.binary(max_size=60) | values.map(orjson.dumps))
def test_an_invalid_answer_is_unreadable(protocol: str, body: bytes) -> None:
    with contextlib.suppress(compare.UnreadableError):
        compare.decode(body, None, protocol=protocol)
