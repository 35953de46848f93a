"""`true` and `false` among numbers, and numbers among booleans, are refused by both REST protocols."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.replica_parts import MODEL, Parts, Setting, answer_of, assemble_inline, request

from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols import booleans

PREDICT = f"/v1/models/{MODEL}:predict"
INFER = f"/v2/models/{MODEL}/infer"
BINARY_OUTPUT = {"binary_data_output": True}


def parts_with(*dtypes: DType) -> Parts:
    specs = tuple(TensorSpec(name=f"x{i}", dtype=dtype, shape=(None, 4)) for i, dtype in enumerate(dtypes))
    signature = Signature(name="serving_default", method="", inputs=specs, outputs=specs)
    return assemble_inline(Setting(signature=signature, model=lambda inputs: inputs))


@pytest.fixture
def floats() -> Parts:
    return parts_with(DType.FLOAT32)


def infer_body(datatype: str, data: object, **more: object) -> dict[str, object]:
    return {"inputs": [{"name": "x0", "shape": [1, 4], "datatype": datatype, "data": data}], **more}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(PREDICT, {"instances": [[1.0, 2, True, 4]]}, id="v1 rows"),
        pytest.param(PREDICT, {"instances": [[1.0, 2, 3, 4], [1, 2, 3, False]]}, id="v1, the last value"),
        pytest.param(PREDICT, {"instances": [{"x0": [1, 2, 3, True]}]}, id="v1 rows of objects"),
        pytest.param(PREDICT, {"inputs": [[1.0, 2, 3, False]]}, id="v1 columns"),
        pytest.param(PREDICT, {"inputs": {"x0": [[1.0, 2, 3, False]]}}, id="v1 columns of objects"),
        pytest.param(PREDICT, {"instances": [[None, 2, 3, True]]}, id="v1 beside null"),
        pytest.param(INFER, infer_body("FP32", [1.0, 2, 3, True]), id="v2"),
        pytest.param(INFER, infer_body("FP32", [[1.0, 2, False, 4]]), id="v2 nested"),
        pytest.param(INFER, infer_body("FP32", [1.0, True, 3, 4], parameters=BINARY_OUTPUT), id="v2 with a parameter"),
    ],
)
def test_a_boolean_among_floats_is_refused_with_the_name_of_the_input_and_what_it_must_hold(
    floats: Parts, path: str, body: object
) -> None:
    response = answer_of(floats.handler, request("POST", path, body))
    assert response.status == 400
    assert "input 'x0': its data must be numbers" in (text := orjson.loads(response.body)["error"])
    assert "true or false" in text


@pytest.mark.parametrize(
    ("dtype", "datatype", "data", "words"),
    [
        (DType.INT32, "INT32", [1, 2, 3, True], "must be integers of a regular shape (int32), but holds true or false"),
        (DType.BOOL, "BOOL", [True, False, True, 1], "must be booleans of a regular shape (bool), but holds a number"),
        (DType.BOOL, "BOOL", [True, False, True, 0.0], "must be booleans of a regular shape (bool), but holds a numb"),
    ],
)
def test_booleans_and_numbers_are_never_taken_for_each_other(
    dtype: DType, datatype: str, data: list[object], words: str
) -> None:
    handler = parts_with(dtype).handler
    for path, body in ((INFER, infer_body(datatype, data)), (PREDICT, {"instances": [data]})):
        response = answer_of(handler, request("POST", path, body))
        assert response.status == 400
        assert f"input 'x0': its data {words}" in orjson.loads(response.body)["error"]


def test_numbers_beside_an_input_of_booleans_are_accepted() -> None:
    handler = parts_with(DType.FLOAT32, DType.BOOL).handler
    body = {"inputs": {"x0": [[1.5, 2, 3, 4]], "x1": [[True, False, True, False]]}}
    assert answer_of(handler, request("POST", PREDICT, body)).status == 200


def test_a_parameter_that_is_a_boolean_is_accepted_with_numbers(floats: Parts) -> None:
    body = infer_body("FP32", [1.0, 2, 3, 4], parameters=BINARY_OUTPUT)
    assert answer_of(floats.handler, request("POST", INFER, body)).status == 200


leaves = st.one_of(st.floats(allow_nan=False, width=32), st.integers(-9, 9), st.booleans(), st.none())


@given(row=st.lists(leaves, min_size=4, max_size=4), letters=st.sampled_from(["", "f", "uf" * 40, "true"]))
def test_a_row_is_accepted_where_it_has_no_boolean_and_only_there(row: list[object], letters: str) -> None:
    handler = parts_with(DType.FLOAT64).handler
    expected = 400 if any(type(leaf) is bool for leaf in row) else 200
    for path, body in (
        (PREDICT, {"ignored": letters, "instances": [row]}),
        (INFER, infer_body("FP64", row, id=letters, parameters=BINARY_OUTPUT)),
    ):
        assert answer_of(handler, request("POST", path, body)).status == expected


@pytest.mark.parametrize("spaces", [0, 5000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("text", "anywhere", "in_lists"),
    [
        (b'{"instances": [[1.0, 2e5, -3]]}', False, False),
        (b'{"inputs": [{"data": [1, null]}], "outputs": [{"name": "u"}]}', False, False),
        (b'{"a": true}', True, False),
        (b'{"a" :\n  false , "f": [1]}', True, False),
        (b'{"a": [1,true]}', True, True),
        (b'{"a": [false,1]}', True, True),
        (b'{"a": [1, \n true]}', True, True),
        (b'{"a": true, "data": [1.5, false]}', True, True),
        (b"true", True, True),
        (b"", False, False),
    ],
)
def test_a_text_with_booleans_is_found(text: bytes, anywhere: bool, in_lists: bool, spaces: int) -> None:
    padded = text + b" " * spaces
    assert booleans.may_hold(padded) is anywhere
    assert booleans.may_hold(padded, only_in_lists=True) is (in_lists if spaces else anywhere)


@pytest.mark.parametrize("text", [b'{"a":' + b" " * 2000 + b"true}", b'{"a": "' + b"u" * 2000 + b'"}'])
def test_a_text_that_is_not_looked_through_to_its_end_may_hold_booleans(text: bytes) -> None:
    assert booleans.may_hold(text, only_in_lists=True)
