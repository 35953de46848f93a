"""Both REST protocols over a handler without sockets."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import orjson
import pytest
from tests.support.replica_parts import DIGEST, NAME, REVISION, Parts, Setting, answer_of, assemble_inline, request

from fairlead_runtime.errors import RequestReason
from fairlead_runtime.inference.batching import Sharing
from fairlead_runtime.inference.dataplane import Phase
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.model.variant import VariantChoice, VariantReason
from fairlead_runtime.protocols import status_codes
from fairlead_runtime.protocols.handler import Handler
from fairlead_runtime.server.limits import ServerLimits

V2_INPUT = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


@pytest.fixture
def parts() -> Parts:
    return assemble_inline()


def two_in_two_out() -> Signature:
    number = TensorSpec(name="n", dtype=DType.INT64, shape=(None,))
    text = TensorSpec(name="t", dtype=DType.STRING, shape=(None,))
    return Signature(name="serving_default", method="", inputs=(number, text), outputs=(number, text))


def answered(handler: Handler, method: str, path: str, body: object = None, **headers: bytes) -> tuple[int, object]:
    given = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    response = answer_of(handler, request(method, path, body, given))
    return response.status, orjson.loads(response.body)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2", 200),
        ("/v2/", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        ("/v2/models/digits", 200),
        ("/v2/models/digits/ready", 200),
        ("/v2/models/digits/versions/3", 200),
        ("/v2/models/digits/versions/v2/ready", 200),
        (f"/v2/models/digits/versions/{REVISION}", 200),
        ("/v2/models/digits/versions/4", 404),
        ("/v2/models/other", 404),
        ("/v2/models/digits/nothing", 404),
        ("/v2/nothing", 404),
        ("/v2/models/digits/infer", 405),
        ("/v1/models/digits", 200),
        ("/v1/models/digits/metadata", 200),
        ("/v1/models/digits/versions/3", 200),
        ("/v1/models/digits/labels/v2", 200),
        ("/v1/models/digits/versions/3/metadata", 200),
        ("/v1/models/digits/versions/9", 404),
        ("/v1/models/other", 404),
        ("/v1/models/digits:predict", 405),
        ("/v1/models/digits:explain", 404),
        ("/v1/models/", 404),
        (f"/-/healthz/{NAME}", 200),
        (f"/-/healthz/{REVISION}-0000000000000000", 410),
        (f"/-/healthz/{REVISION}", 410),
        ("/-/healthz/", 410),
        ("/", 404),
        ("/v2x", 404),
    ],
)
def test_each_path_answers_a_get_with_its_code(parts: Parts, path: str, status: int) -> None:
    response = answer_of(parts.handler, request("GET", path))
    assert response.status == status
    if status >= 400:
        assert orjson.loads(response.body).keys() == {"error"}


def test_v2_metadata_gives_the_signature_and_the_digest(parts: Parts) -> None:
    response = answer_of(parts.handler, request("GET", "/v2/models/digits"))
    tensor = {"datatype": "FP32", "shape": [-1, 4]}
    assert orjson.loads(response.body) == {
        "name": "digits",
        "versions": ["3"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "x", **tensor}],
        "outputs": [{"name": "y", **tensor}],
    }
    assert response.headers == ((b"x-fairlead-digest", DIGEST.encode()), (b"x-fairlead-engine", b"TensorFlow"))
    below = assemble_inline(Setting(folder="versión 10"))
    headers = answer_of(below.handler, request("GET", "/v2/models/digits")).headers
    assert (b"x-fairlead-folder", b"versi%C3%B3n%2010") in headers
    varied = assemble_inline(Setting(variant=VariantChoice(name="Folded", reason=VariantReason.BEST, why="faster")))
    headers = answer_of(varied.handler, request("GET", "/v2/models/digits")).headers
    assert (b"x-fairlead-variant", b"Folded") in headers


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"parameters": {"priority": 1}}, "the request: the parameter 'priority' is not supported; leave it out"),
        ({"parameters": [1]}, "the request: parameters must be an object"),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": 2}}]},
            "output 'y': the parameter 'classification'",
        ),
        ({"inputs": [{**V2_INPUT, "parameters": {"shared_memory_region": "a"}}]}, "input 'x': the parameter"),
    ],
)
def test_a_parameter_that_would_be_ignored_is_refused(parts: Parts, changed: dict[str, object], words: str) -> None:
    status, body = answered(parts.handler, "POST", "/v2/models/digits/infer", {"inputs": [V2_INPUT], **changed})
    assert (status, words in str(body)) == (400, True), body


def test_v2_infer_answers_with_the_request_id_and_flat_data(parts: Parts) -> None:
    body = {"id": "42", "parameters": {"content_type": "np"}, "inputs": [V2_INPUT]}
    assert answered(parts.handler, "POST", "/v2/models/digits/infer", body) == (
        200,
        {
            "model_name": "digits",
            "model_version": "3",
            "id": "42",
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [2, 4, 6, 8]}],
        },
    )


@pytest.mark.parametrize("version", ["3", "v2", REVISION])
def test_v2_infer_takes_the_version_by_number_alias_and_revision(parts: Parts, version: str) -> None:
    path = f"/v2/models/digits/versions/{version}/infer"
    assert answered(parts.handler, "POST", path, {"inputs": [V2_INPUT]})[0] == 200


def test_v2_infer_takes_and_gives_binary_tensors(parts: Parts) -> None:
    blob = np.array([1, 2, 3, 4], "<f4").tobytes()
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = orjson.dumps({"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]})
    headers = {b"inference-header-content-length": str(len(head)).encode()}
    response = answer_of(parts.handler, request("POST", "/v2/models/digits/infer", head + blob, headers))
    length = int(dict(response.headers)[b"inference-header-content-length"])
    assert orjson.loads(response.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(response.body[length:], "<f4").tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"binary_data_size": 12}, id="too short for the shape"),
        pytest.param({"binary_data_size": 4000}, id="more than the body has"),
        pytest.param({"binary_data_size": -16}, id="negative"),
        pytest.param({"binary_data_size": "16"}, id="in quotes"),
        pytest.param({}, id="no size and no data"),
    ],
)
def test_v2_binary_tensors_of_wrong_length_are_refused(parts: Parts, change: dict[str, object]) -> None:
    head = orjson.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": change}]})
    headers = {b"inference-header-content-length": str(len(head)).encode()}
    body = head + bytes(16)
    assert answer_of(parts.handler, request("POST", "/v2/models/digits/infer", body, headers)).status == 400


@pytest.mark.parametrize("length", [b"-1", b"abc", b"99999999999999999999", b"5000", b""])
def test_an_impossible_v2_header_length_is_refused(parts: Parts, length: bytes) -> None:
    headers = {b"inference-header-content-length": length}
    assert answer_of(parts.handler, request("POST", "/v2/models/digits/infer", b"{}", headers)).status == 400


def test_binary_numbers_may_be_any_float(parts: Parts) -> None:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = orjson.dumps({"inputs": [tensor], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]})
    body = head + struct.pack("<4f", 1, float("-inf"), float("nan"), 4)
    headers = {b"inference-header-content-length": str(len(head)).encode()}
    response = answer_of(parts.handler, request("POST", "/v2/models/digits/infer", body, headers))
    assert response.status == 200
    np.testing.assert_array_equal(np.frombuffer(response.body[-16:], "<f4"), [2, -np.inf, np.nan, 8])


WORDS = b"[[1, NaN, Infinity, -Infinity], [null, 2, 3, 4]]"


@pytest.mark.parametrize(
    ("form", "key"), [(b'{"instances": %s}', "predictions"), (b'{"inputs": {"x": %s}}', "outputs")]
)
def test_v1_takes_and_gives_missing_values_as_tensorflow_serving_does(parts: Parts, form: bytes, key: str) -> None:
    response = answer_of(parts.handler, request("POST", "/v1/models/digits:predict", form % WORDS))
    assert b"NaN,Infinity,-Infinity" in response.body
    nan, inf = float("nan"), float("inf")
    np.testing.assert_array_equal(json.loads(response.body)[key], [[2, nan, inf, -inf], [nan, 4, 6, 8]])


def test_v1_rows_of_several_outputs_have_the_same_words() -> None:
    specs = tuple(TensorSpec(name=name, dtype=DType.FLOAT32, shape=(None,)) for name in ("a", "b"))
    signature = Signature(name="serving_default", method="", inputs=specs, outputs=specs)
    handler = assemble_inline(Setting(signature=signature)).handler
    body = b'{"instances": [{"a": NaN, "b": 1}, {"a": 2, "b": -Infinity}]}'
    response = answer_of(handler, request("POST", "/v1/models/digits:predict", body))
    assert response.body == b'{"predictions":[{"a":NaN,"b":2.0},{"a":4.0,"b":-Infinity}]}'


def test_v2_takes_missing_values_and_gives_null_for_them(parts: Parts) -> None:
    body = b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [NaN, null, -Infinity, 1]}]}'
    response = answer_of(parts.handler, request("POST", "/v2/models/digits/infer", body))
    assert orjson.loads(response.body)["outputs"][0]["data"] == [None, None, None, 2]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"inputs": [[NaN, 1e999, 1, 1]]}', id="a number beyond 64 bits"),
        pytest.param(b'{"inputs": [[NaN, 1, 1, 1]], "id": "\\ud800"}', id="half of a surrogate pair"),
        pytest.param(b'{"inputs": [[NaN, 1, 1, 1]], "id": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"inputs": [[NaN, nan, 1, 1]]}', id="another spelling"),
        pytest.param(b'{"inputs": [[NaN, 1, 1, 1]],}', id="a comma too many"),
        pytest.param(b'{"inputs": NaN, "x":' + b"[" * 5000, id="nested without end"),
        pytest.param(b'{"inputs": [[NaN, 1' + b"0" * 5000 + b", 1, 1]]}", id="an integer of thousands of digits"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/models/digits:predict", "/v2/models/digits/infer"])
def test_a_body_with_such_words_is_held_to_json_in_everything_else(parts: Parts, path: str, body: bytes) -> None:
    response = answer_of(parts.handler, request("POST", path, body))
    assert response.status == 400
    assert "not JSON" in orjson.loads(response.body)["error"]


def test_strings_that_look_like_such_words_stay_strings() -> None:
    spec = TensorSpec(name="t", dtype=DType.STRING, shape=(None,))
    signature = Signature(name="serving_default", method="", inputs=(spec,), outputs=(spec,))
    handler = assemble_inline(Setting(signature=signature)).handler
    body = b'{"instances": ["NaN", "a \\"NaN\\" b", "Infinity"], "ignored": NaN}'
    response = answer_of(handler, request("POST", "/v1/models/digits:predict", body))
    assert orjson.loads(response.body) == {"predictions": ["NaN", 'a "NaN" b', "Infinity"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"{", "not JSON", id="cut off"),
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b"[1]", "must be a JSON object", id="a list"),
        pytest.param(b'{"inputs": nan}', "not JSON", id="NaN in small letters"),
        pytest.param(b'{"inputs": NaN}', "inputs must be a list", id="NaN for the inputs"),
        pytest.param(b'{"inputs":' + b"[" * 5000, "not JSON", id="nested without end"),
        pytest.param({}, "inputs must be a list", id="no inputs"),
        pytest.param({"inputs": []}, "'x' is missing", id="empty inputs"),
        pytest.param({"inputs": [3]}, "must be an object", id="a number as input"),
        pytest.param({"inputs": [V2_INPUT, V2_INPUT]}, "listed twice", id="twice"),
        pytest.param({"inputs": [{**V2_INPUT, "name": "z"}]}, "no input 'z'", id="unknown name"),
        pytest.param({"inputs": [{**V2_INPUT, "name": ["x"]}]}, "no input", id="name is a list"),
        pytest.param({"inputs": [{**V2_INPUT, "datatype": "INT64"}]}, "expected datatype FP32", id="other datatype"),
        pytest.param({"inputs": [{**V2_INPUT, "shape": [4]}]}, "expected shape", id="rank too low"),
        pytest.param({"inputs": [{**V2_INPUT, "shape": [1, 4, 1]}]}, "expected shape", id="rank too high"),
        pytest.param({"inputs": [{**V2_INPUT, "shape": [2, 2]}]}, "expected shape", id="same count, other shape"),
        pytest.param({"inputs": [{**V2_INPUT, "shape": [-1, 4]}]}, "shape must be", id="negative size"),
        pytest.param({"inputs": [{**V2_INPUT, "shape": [True, 4]}]}, "shape must be", id="boolean size"),
        pytest.param({"inputs": [{**V2_INPUT, "shape": "x"}]}, "shape must be", id="shape is text"),
        pytest.param({"inputs": [{**V2_INPUT, "data": [1, 2, 3]}]}, "needs 4 elements", id="too little data"),
        pytest.param({"inputs": [{**V2_INPUT, "data": None}]}, "needs 4 elements", id="null data"),
        pytest.param({"inputs": [V2_INPUT], "id": 7}, "id must be a string", id="id is a number"),
        pytest.param({"inputs": [V2_INPUT], "outputs": [{"name": "q"}]}, "no output 'q'", id="unknown output"),
        pytest.param({"inputs": [V2_INPUT], "outputs": "y"}, "outputs must be a list", id="outputs is text"),
    ],
)
def test_v2_refuses_with_400_and_the_reason(parts: Parts, body: object, words: str) -> None:
    status, answer = answered(parts.handler, "POST", "/v2/models/digits/infer", body)
    assert status == 400
    assert isinstance(answer, dict)
    assert words in answer["error"]


def test_v1_status_and_metadata_have_tensorflow_servings_form(parts: Parts) -> None:
    status = {"error_code": "OK", "error_message": ""}
    expected = {"model_version_status": [{"version": "3", "state": "AVAILABLE", "status": status}]}
    assert answered(parts.handler, "GET", "/v1/models/digits") == (200, expected)
    _, metadata = answered(parts.handler, "GET", "/v1/models/digits/metadata")
    assert isinstance(metadata, dict)
    assert metadata["model_spec"] == {"name": "digits", "signature_name": "", "version": "3"}
    described = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    dims = [{"size": "-1", "name": ""}, {"size": "4", "name": ""}]
    shape = {"dim": dims, "unknown_rank": False}
    assert described["inputs"] == {"x": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "x"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({"instances": [[1, 2, 3, 4]]}, {"predictions": [[2, 4, 6, 8]]}, id="rows"),
        pytest.param({"instances": [{"x": [1, 2, 3, 4]}]}, {"predictions": [[2, 4, 6, 8]]}, id="named rows"),
        pytest.param({"inputs": [[1, 2, 3, 4]]}, {"outputs": [[2, 4, 6, 8]]}, id="columns"),
        pytest.param({"inputs": {"x": [[1, 2, 3, 4]]}}, {"outputs": [[2, 4, 6, 8]]}, id="named columns"),
        pytest.param(
            {"signature_name": "serving_default", "instances": [[1, 2, 3, 4]]},
            {"predictions": [[2, 4, 6, 8]]},
            id="with the signature's name",
        ),
    ],
)
def test_v1_predicts_in_rows_and_columns(parts: Parts, body: object, expected: object) -> None:
    assert answered(parts.handler, "POST", "/v1/models/digits:predict", body) == (200, expected)
    assert answered(parts.handler, "POST", "/v1/models/digits/versions/3:predict", body) == (200, expected)


def test_v1_with_several_tensors_gives_objects_and_takes_base64() -> None:
    handler = assemble_inline(Setting(signature=two_in_two_out())).handler
    encoded = base64.b64encode(b"\xff").decode()
    rows = {"instances": [{"n": 1, "t": "a"}, {"n": 2, "t": {"b64": encoded}}]}
    assert answered(handler, "POST", "/v1/models/digits:predict", rows) == (
        200,
        {"predictions": [{"n": 2, "t": "a"}, {"n": 4, "t": {"b64": encoded}}]},
    )
    columns = {"inputs": {"n": [1], "t": ["a"]}}
    assert answered(handler, "POST", "/v1/models/digits:predict", columns) == (200, {"outputs": {"n": [2], "t": ["a"]}})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({}, "exactly one of instances", id="neither format"),
        pytest.param({"instances": [[1] * 4], "inputs": [[1] * 4]}, "exactly one of instances", id="both formats"),
        pytest.param({"instances": []}, "at least one", id="no rows"),
        pytest.param({"instances": 3}, "at least one", id="a number"),
        pytest.param({"instances": [[1, 2, 3]]}, "expected shape [-1, 4]", id="row too short"),
        pytest.param({"instances": [[1, 2, 3, 4], [1]]}, "not rectangular", id="ragged"),
        pytest.param({"instances": [{"z": [1, 2, 3, 4]}]}, "exactly 'x'", id="unknown name"),
        pytest.param({"instances": [{"x": [1, 2, 3, 4]}, 7]}, "instances[1]", id="mixed rows"),
        pytest.param({"inputs": {"z": 1}}, "exactly 'x'", id="unknown column"),
        pytest.param({"signature_name": "other", "instances": [[1] * 4]}, "signature_name", id="unknown signature"),
        pytest.param({"signature_name": ["x"], "instances": [[1] * 4]}, "signature_name", id="signature is a list"),
    ],
)
def test_v1_refuses_with_400_and_the_reason(parts: Parts, body: object, words: str) -> None:
    status, answer = answered(parts.handler, "POST", "/v1/models/digits:predict", body)
    assert status == 400
    assert isinstance(answer, dict)
    assert words in answer["error"]


@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_v1_classify_and_regress_need_a_signature_with_examples(parts: Parts, verb: str) -> None:
    status, answer = answered(parts.handler, "POST", f"/v1/models/digits:{verb}", {"examples": [{"a": 1}]})
    assert status == 400
    assert "use predict" in str(answer)


def example_signature(*outputs: TensorSpec) -> Signature:
    examples = TensorSpec(name="inputs", dtype=DType.STRING, shape=(None,))
    return Signature(name="s", method="tensorflow/serving/classify", inputs=(examples,), outputs=outputs)


def test_v1_classifies_examples_into_pairs_of_label_and_score() -> None:
    outputs = (
        TensorSpec(name="classes", dtype=DType.STRING, shape=(None, 2)),
        TensorSpec(name="scores", dtype=DType.FLOAT32, shape=(None, 2)),
    )

    def model(inputs: Tensors) -> Tensors:
        assert b"age" in inputs[0][0]
        return np.array([[b"no", b"yes"]], object), np.array([[0.25, 0.75]], np.float32)

    handler = assemble_inline(Setting(signature=example_signature(*outputs), model=model)).handler
    body = {"context": {"town": "x"}, "examples": [{"age": 7}]}
    expected = {"results": [[["no", 0.25], ["yes", 0.75]]]}
    assert answered(handler, "POST", "/v1/models/digits:classify", body) == (200, expected)
    for bad in ({}, {"examples": []}, {"examples": [3]}, {"examples": [{"a": [1, "x"]}]}, {"examples": [{"a": None}]}):
        assert answered(handler, "POST", "/v1/models/digits:classify", bad)[0] == 400


@pytest.mark.parametrize(("examples", "status"), [(15, 200), (16, 413)])
def test_v1_counts_the_context_once_for_each_example(examples: int, status: int) -> None:
    output = TensorSpec(name="outputs", dtype=DType.FLOAT32, shape=(None, 1))
    signature = example_signature(output)

    def model(inputs: Tensors) -> Tensors:
        assert len(set(inputs[0])) == 1
        return (np.ones((len(inputs[0]), 1), np.float32),)

    setting = Setting(signature=signature, model=model, limits=ServerLimits(body_bytes_max=4096))
    body = {"context": {"town": "x" * 1024}, "examples": [{}] * examples}
    found, answer = answered(assemble_inline(setting).handler, "POST", "/v1/models/digits:regress", body)
    assert found == status, answer
    if status == 413:
        assert "counting the context once for each; at most 16384 are allowed" in str(answer)


def test_v1_refuses_results_of_another_number_of_examples() -> None:
    output = TensorSpec(name="outputs", dtype=DType.FLOAT32, shape=(None, 1))
    setting = Setting(signature=example_signature(output), model=lambda inputs: (np.array([[1.5]], np.float32),))
    body = {"examples": [{"a": 1}, {"a": 2}]}
    status, answer = answered(assemble_inline(setting).handler, "POST", "/v1/models/digits:regress", body)
    assert status == 400
    assert "not one number for each of 2 examples" in str(answer)


def test_v1_regresses_examples_into_numbers() -> None:
    output = TensorSpec(name="outputs", dtype=DType.FLOAT32, shape=(None, 1))
    setting = Setting(signature=example_signature(output), model=lambda inputs: (np.array([[1.5]], np.float32),))
    handler = assemble_inline(setting).handler
    body = {"examples": [{"a": 1.5, "b": "text", "c": [1, 2]}]}
    assert answered(handler, "POST", "/v1/models/digits:regress", body) == (200, {"results": [1.5]})


@pytest.mark.parametrize(
    ("error", "status"), [(InputRefusedError("indices out of range"), 400), (ModelFailedError("out of memory"), 500)]
)
def test_the_error_of_the_model_decides_between_400_and_500(error: Exception, status: int) -> None:
    def model(inputs: Tensors) -> Tensors:
        raise error

    handler = assemble_inline(Setting(model=model)).handler
    assert answered(handler, "POST", "/v1/models/digits:predict", {"instances": [[1] * 4]})[0] == status


@pytest.mark.parametrize(
    ("phase", "health", "ready", "infer"),
    [(Phase.LOADING, 503, 503, 503), (Phase.READY, 200, 200, 200), (Phase.DRAINING, 404, 200, 200)],
)
def test_the_phase_decides_health_but_a_draining_replica_still_answers(
    parts: Parts, phase: Phase, health: int, ready: int, infer: int
) -> None:
    parts.plane.phase = phase
    assert answered(parts.handler, "GET", f"/-/healthz/{NAME}")[0] == health
    assert answered(parts.handler, "GET", "/v2/health/ready")[0] == ready
    assert answered(parts.handler, "POST", "/v2/models/digits/infer", {"inputs": [V2_INPUT]})[0] == infer


def test_every_reason_has_a_code_and_every_code_a_phrase() -> None:
    assert set(status_codes.HTTP) == set(RequestReason)
    assert set(status_codes.HTTP.values()) <= set(status_codes.PHRASES)


def test_metrics_are_prometheus_text(parts: Parts) -> None:
    parts.metrics.count_answer("v2", 200, 0.001)
    body = answer_of(parts.handler, request("GET", "/metrics")).body.decode()
    model, own = 'model="digits",namespace="default"', f'replica="{NAME}",revision="{REVISION}"'
    assert f'fairlead_replica_requests_total{{code="200",{model},protocol="v2",{own}}} 1.0' in body
    assert f'fairlead_replica_request_duration_seconds_bucket{{le="+Inf",{model},{own}}} 1.0' in body


RAGGED = {
    "inputs": [
        {"name": "n", "shape": [3], "datatype": "INT64", "data": [0, 2, 5]},
        {"name": "t", "shape": [5], "datatype": "BYTES", "data": ["a", "b", "c", "d", "e"]},
    ]
}


@pytest.mark.parametrize(("is_proved", "status"), [(False, 200), (True, 400)])
def test_inputs_with_different_rows_are_refused_only_where_requests_share_calls(is_proved: bool, status: int) -> None:
    """A ragged tensor is its values and the places where its rows begin."""
    setting = Setting(signature=two_in_two_out(), sharing=Sharing(is_proved=is_proved))
    found, body = answered(assemble_inline(setting).handler, "POST", "/v2/models/digits/infer", RAGGED)
    assert found == status, body
    if not is_proved:
        assert isinstance(body, dict)
        assert {output["name"]: output["shape"] for output in body["outputs"]} == {"n": [3], "t": [5]}
