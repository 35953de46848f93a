"""gRPC's messages over a handler without sockets: each type both ways, each refusal, and bytes that nobody meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import nightly
from tests.support.replica_parts import MODEL, Parts, Setting, answer_of, assemble_inline, request

from fairlead_runtime.inference.dataplane import Phase
from fairlead_runtime.model.signature import DType, Signature, TensorSpec, dtype_number
from fairlead_runtime.protocols import datatypes
from fairlead_runtime.protocols.grpc import v1_messages, v2_contents, v2_messages
from fairlead_runtime.protocols.http import VALUES_MAX, Response

V2, V1 = v2_messages.MESSAGES, v1_messages.MESSAGES
INFER = f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelInfer"
PREDICT = f"/rpc/models/{MODEL}/tensorflow.serving.PredictionService/Predict"
VALUES: dict[DType, list[Any]] = {
    dtype: [True, False]
    if dtype is DType.BOOL
    else [b"a", b"\xff\0"]
    if dtype is DType.STRING
    else [1.5, -2.0]
    if dtype.is_float
    else [1, np.iinfo(dtype.numpy).max]
    for dtype in DType
}


def echo(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return inputs


def parts_with(*specs: TensorSpec) -> Parts:
    signature = Signature(name="serving_default", method="tensorflow/serving/predict", inputs=specs, outputs=specs)
    return assemble_inline(Setting(signature=signature, model=echo))


def spec_of(dtype: DType, name: str = "x") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=(None,))


def framed(message: Any) -> bytes:
    body = message if isinstance(message, bytes) else message.SerializeToString()
    return b"\0" + len(body).to_bytes(4, "big") + body


def call(parts: Parts, path: str, message: Any) -> Response:
    return answer_of(parts.handler, request("POST", path, message if isinstance(message, bytes) else framed(message)))


def read(response: Response, kind: type[Any]) -> Any:
    assert (response.status, response.content_type) == (200, b"application/grpc"), response.body
    assert response.trailers == ((b"grpc-status", b"0"),)
    length = int.from_bytes(response.body[1:5], "big")
    assert (response.body[0], length) == (0, len(response.body) - 5)
    return kind.FromString(response.body[5:])


def refusal(response: Response) -> tuple[int, str]:
    return response.status, orjson.loads(response.body)["error"]


def array_of(dtype: DType) -> Any:
    array = np.empty(2, dtype=dtype.numpy)
    array[:] = VALUES[dtype]
    return array


def raw_bytes(dtype: DType) -> bytes:
    if dtype is DType.STRING:
        return b"".join(len(value).to_bytes(4, "little") + value for value in VALUES[dtype])
    return bytes(array_of(dtype).tobytes())


def infer_request(dtype: DType, *, raw: bool) -> Any:
    message = V2["ModelInferRequest"](model_name=MODEL)
    item = message.inputs.add(name="x", datatype=datatypes.NAMES[dtype], shape=[2])
    if raw:
        message.raw_input_contents.append(raw_bytes(dtype))
    else:
        getattr(item.contents, v2_contents.FIELDS[dtype]).extend(VALUES[dtype])
    return message


@pytest.mark.parametrize("dtype", DType)
def test_each_type_travels_raw(dtype: DType) -> None:
    answer = read(call(parts_with(spec_of(dtype)), INFER, infer_request(dtype, raw=True)), V2["ModelInferResponse"])
    (output,) = answer.outputs
    assert (output.datatype, list(output.shape), output.HasField("contents")) == (datatypes.NAMES[dtype], [2], False)
    assert list(answer.raw_output_contents) == [raw_bytes(dtype)]


@pytest.mark.parametrize("dtype", v2_contents.FIELDS)
def test_each_type_but_fp16_travels_typed(dtype: DType) -> None:
    answer = read(call(parts_with(spec_of(dtype)), INFER, infer_request(dtype, raw=False)), V2["ModelInferResponse"])
    assert list(answer.raw_output_contents) == []
    assert list(getattr(answer.outputs[0].contents, v2_contents.FIELDS[dtype])) == VALUES[dtype]


def predict_request(dtype: DType, *, field: str | None = None) -> Any:
    message = V1["PredictRequest"]()
    message.model_spec.name = MODEL
    tensor = message.inputs["x"]
    tensor.dtype = dtype_number(dtype)
    tensor.tensor_shape.dim.add(size=2)
    if field is None:
        tensor.tensor_content = raw_bytes(dtype)
    else:
        values = array_of(dtype).view(np.uint16).tolist() if dtype is DType.FLOAT16 else VALUES[dtype]
        getattr(tensor, field).extend(values)
    return message


VALUE_FIELDS = {
    DType.FLOAT16: "half_val",
    DType.FLOAT32: "float_val",
    DType.FLOAT64: "double_val",
    DType.INT8: "int_val",
    DType.INT16: "int_val",
    DType.INT32: "int_val",
    DType.UINT8: "int_val",
    DType.UINT16: "int_val",
    DType.INT64: "int64_val",
    DType.UINT32: "uint32_val",
    DType.UINT64: "uint64_val",
    DType.BOOL: "bool_val",
    DType.STRING: "string_val",
}


@pytest.mark.parametrize("dtype", DType)
def test_each_type_travels_as_the_values_of_a_tensor_proto(dtype: DType) -> None:
    message = predict_request(dtype, field=VALUE_FIELDS[dtype])
    answer = read(call(parts_with(spec_of(dtype)), PREDICT, message), V1["PredictResponse"])
    tensor = answer.outputs["x"]
    assert tensor.dtype == dtype_number(dtype)
    if dtype is DType.STRING:
        assert list(tensor.string_val) == VALUES[dtype]
    else:
        assert tensor.tensor_content == raw_bytes(dtype)


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.STRING])
def test_each_type_but_strings_travels_as_the_content_of_a_tensor_proto(dtype: DType) -> None:
    answer = read(call(parts_with(spec_of(dtype)), PREDICT, predict_request(dtype)), V1["PredictResponse"])
    assert answer.outputs["x"].tensor_content == raw_bytes(dtype)


def changed(**fields: Any) -> Any:
    """A good request for one float but for what is given."""
    message = V2["ModelInferRequest"](model_name=MODEL)
    item = message.inputs.add(name="x", datatype="FP32", shape=[2])
    item.contents.fp32_contents.extend([1, 2])
    for name, value in fields.items():
        match name:
            case "raw":
                message.raw_input_contents.extend(value)
            case "parameter":
                message.parameters[value].bool_param = True
            case "input_parameter":
                item.parameters[value].int64_param = 1
            case "output":
                message.outputs.add(name=value)
            case "output_parameter":
                message.outputs.add(name="x").parameters[value].int64_param = 1
            case "second":
                message.inputs.add(name=value, datatype="FP32", shape=[2])
            case "contents":
                del item.contents.fp32_contents[:]
                item.contents.fp32_contents.extend(value)
            case "shape":
                del item.shape[:]
                item.shape.extend(value)
            case _:
                setattr(item if name in ("name", "datatype") else message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        (changed(model_name="other"), 404, "model 'other' is not served here"),
        (changed(model_version="9"), 404, "no version '9'"),
        (changed(name="y"), 400, "there is no input 'y'; the model has 'x'"),
        (changed(second="x"), 400, "input 'x' is listed twice"),
        (changed(datatype="FP64"), 400, "expected datatype FP32, got 'FP64'"),
        (changed(shape=[-1]), 400, "shape must hold whole numbers"),
        (changed(shape=[3]), 400, "its shape [3] needs 3 values in contents.fp32_contents, got 2"),
        (changed(shape=[1, 2]), 400, "expected shape [-1], got [1, 2]"),
        (changed(shape=[1] * 40), 400, "at most 32 are allowed"),
        (changed(raw=[b"\0" * 8, b""]), 400, "raw_input_contents has 2 elements for 1 inputs"),
        (changed(raw=[b"\0" * 8]), 400, "contents must not be set beside raw_input_contents"),
        (changed(parameter="priority"), 400, "the request: the parameter 'priority' is not supported"),
        (changed(input_parameter="shared_memory_region"), 400, "'shared_memory_region' is not supported"),
        (
            changed(output_parameter="classification"),
            400,
            "output 'x': the parameter 'classification' is not supported",
        ),
        (changed(output="z"), 400, "there is no output 'z'; the model has 'x'"),
        (b"", 400, "the call holds no message"),
        (b"\0\0\0\0\5abc", 400, "exactly one whole message"),
        (framed(b"\xff\xff"), 400, "can't be read as ModelInferRequest"),
        (b"\1\0\0\0\0", 501, "compressed messages are not supported"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(message: Any, status: int, words: str) -> None:
    found = refusal(call(parts_with(spec_of(DType.FLOAT32)), INFER, message))
    assert found[0] == status
    assert words in found[1]


def test_a_missing_value_is_taken_and_given() -> None:
    answer = call(parts_with(spec_of(DType.FLOAT32)), INFER, changed(contents=[1, float("nan")]))
    (output,) = read(answer, V2["ModelInferResponse"]).outputs
    assert np.isnan(output.contents.fp32_contents).tolist() == [False, True]


def test_a_parameter_that_repeats_the_datatype_is_taken() -> None:
    answer = call(parts_with(spec_of(DType.FLOAT32)), INFER, changed(input_parameter="content_type"))
    assert read(answer, V2["ModelInferResponse"]).model_name == MODEL


def test_only_the_outputs_that_are_asked_for_are_answered() -> None:
    parts = parts_with(spec_of(DType.FLOAT32), spec_of(DType.FLOAT32, "z"))
    message = changed(second="z", output="z")
    message.inputs[1].contents.fp32_contents.extend([3, 4])
    answer = read(call(parts, INFER, message), V2["ModelInferResponse"])
    assert [output.name for output in answer.outputs] == ["z"]


def typed_tensor(dtype: int, sizes: list[int], **values: Any) -> Any:
    message = V1["PredictRequest"]()
    message.model_spec.name = MODEL
    tensor = message.inputs["x"]
    tensor.dtype = dtype
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    for name, value in values.items():
        setattr(tensor, name, value) if name == "tensor_content" else getattr(tensor, name).extend(value)
    return message


@pytest.mark.parametrize(
    ("dtype", "message", "words"),
    [
        (DType.FLOAT32, typed_tensor(2, [1], double_val=[1]), "expected dtype float32 (number 1), got number 2"),
        (DType.FLOAT32, typed_tensor(1, [-1], float_val=[1]), "tensor_shape must hold sizes from 0"),
        (DType.FLOAT32, typed_tensor(1, [3], float_val=[1, 2]), "needs 3 values, but float_val has 2"),
        (DType.FLOAT32, typed_tensor(1, [VALUES_MAX + 1], float_val=[1]), "but float_val has 1"),
        (DType.FLOAT32, typed_tensor(1, [2**31 - 1], tensor_content=b"\0" * 8), "its shape needs"),
        (DType.FLOAT32, typed_tensor(1, [1, 1], float_val=[1]), "expected shape [-1], got [1, 1]"),
        (DType.INT8, typed_tensor(6, [1], int_val=[300]), "outside int8"),
        (DType.UINT8, typed_tensor(4, [1], int_val=[-1]), "outside uint8"),
        (DType.FLOAT16, typed_tensor(19, [1], half_val=[70000]), "no 16 bits"),
        (DType.STRING, typed_tensor(7, [1], tensor_content=b"abc"), "must be in string_val"),
    ],
)
def test_a_tensor_proto_that_does_not_fit_is_refused(dtype: DType, message: Any, words: str) -> None:
    status, reason = refusal(call(parts_with(spec_of(dtype)), PREDICT, message))
    assert status == 400
    assert words in reason


def test_a_request_for_another_signature_or_output_is_refused() -> None:
    parts = parts_with(spec_of(DType.FLOAT32))
    other = typed_tensor(1, [1], float_val=[1])
    other.model_spec.signature_name = "regress"
    assert (
        "signature_name: this replica serves 'serving_default', not 'regress'"
        in refusal(call(parts, PREDICT, other))[1]
    )
    filtered = typed_tensor(1, [1], float_val=[1])
    filtered.output_filter.append("z")
    assert "output_filter: there is no output 'z'" in refusal(call(parts, PREDICT, filtered))[1]
    missing = typed_tensor(1, [1], float_val=[1])
    missing.inputs["more"].dtype = 1
    assert "inputs must hold exactly 'x'" in refusal(call(parts, PREDICT, missing))[1]


def test_the_metadata_of_tensorflow_serving_holds_the_signature() -> None:
    parts = parts_with(spec_of(DType.FLOAT32), TensorSpec(name="any", dtype=DType.INT64, shape=None))
    path = PREDICT.replace("Predict", "GetModelMetadata", 2).replace("GetModelMetadataionService", "PredictionService")
    asked = V1["GetModelMetadataRequest"](metadata_field=["signature_def"])
    asked.model_spec.name = MODEL
    answer = read(call(parts, path, asked), V1["GetModelMetadataResponse"])
    assert answer.metadata["signature_def"].type_url.endswith("/tensorflow.serving.SignatureDefMap")
    found = V1["SignatureDefMap"].FromString(answer.metadata["signature_def"].value).signature_def["serving_default"]
    assert [dim.size for dim in found.inputs["x"].tensor_shape.dim] == [-1]
    assert (found.inputs["any"].tensor_shape.unknown_rank, found.inputs["any"].dtype) == (True, 9)
    asked.metadata_field.append("more")
    assert refusal(call(parts, path, asked))[0] == 400


@pytest.mark.parametrize(("phase", "state", "is_ready"), [(Phase.LOADING, 20, False), (Phase.READY, 30, True)])
def test_the_state_of_a_model_is_its_replicas(phase: Phase, state: int, is_ready: bool) -> None:
    parts = parts_with(spec_of(DType.FLOAT32))
    parts.plane.phase = phase
    asked = V1["GetModelStatusRequest"]()
    asked.model_spec.name = MODEL
    path = f"/rpc/models/{MODEL}/tensorflow.serving.ModelService/GetModelStatus"
    (status,) = read(call(parts, path, asked), V1["GetModelStatusResponse"]).model_version_status
    assert (status.version, status.state) == (3, state)
    ready = f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelReady"
    assert read(call(parts, ready, V2["ModelReadyRequest"](name=MODEL)), V2["ModelReadyResponse"]).ready is is_ready


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelStreamInfer", 501),
        ("POST", f"/rpc/models/{MODEL}/other.Service/ModelInfer", 501),
        ("POST", f"/rpc/models/{MODEL}/versions/9/inference.GRPCInferenceService/ModelInfer", 404),
        ("POST", "/rpc/models/other/inference.GRPCInferenceService/ModelInfer", 404),
        ("POST", f"/rpc/models/{MODEL}", 404),
        ("GET", INFER, 405),
    ],
)
def test_a_call_that_is_not_served_has_its_code(method: str, path: str, status: int) -> None:
    parts = parts_with(spec_of(DType.FLOAT32))
    assert answer_of(parts.handler, request(method, path, b"")).status == status


messages = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda prefix, rest: prefix + rest,
        st.sampled_from(
            [infer_request(d, raw=r).SerializeToString() for d in (DType.FLOAT32, DType.STRING) for r in (True, False)]
        ),
        st.binary(max_size=40),
    ),
    st.builds(
        lambda dtype, field, sizes: typed_tensor(dtype, sizes, **{field: [1]}).SerializeToString(),
        st.integers(0, 25),
        st.sampled_from(sorted(set(VALUE_FIELDS.values()) - {"string_val"})),
        st.lists(st.integers(-2, 2**62), max_size=40),
    ),
)


@settings(max_examples=nightly.examples(300), deadline=None)
@given(
    message=messages,
    path=st.sampled_from([INFER, PREDICT]),
    dtype=st.sampled_from([DType.FLOAT32, DType.STRING, DType.BOOL]),
)
def test_no_message_is_answered_with_a_server_error(message: bytes, path: str, dtype: DType) -> None:
    response = call(parts_with(spec_of(dtype)), path, framed(message))
    assert response.status < 500 or response.status == 501, response.body
