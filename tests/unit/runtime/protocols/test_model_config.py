"""Triton's model configuration extension: each type of tensor, by REST and by gRPC."""

from __future__ import annotations

import orjson
from tests.support.replica_parts import MODEL, Setting, answer_of, assemble_inline, request

from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols.grpc import v2_messages

V2 = v2_messages.MESSAGES


def test_both_protocols_describe_the_same_tensors() -> None:
    specs = tuple(TensorSpec(name=dtype.value, dtype=dtype, shape=(None, 3)) for dtype in DType)
    scalar = TensorSpec(name="any", dtype=DType.FLOAT32, shape=None)
    signature = Signature(name="s", method="", inputs=specs, outputs=(scalar,))
    handler = assemble_inline(Setting(signature=signature)).handler

    by_rest = orjson.loads(answer_of(handler, request("GET", f"/v2/models/{MODEL}/config")).body)
    asked = V2["ModelConfigRequest"](name=MODEL).SerializeToString()
    path = f"/rpc/models/{MODEL}/inference.GRPCInferenceService/ModelConfig"
    answer = answer_of(handler, request("POST", path, b"\0" + len(asked).to_bytes(4, "big") + asked))
    by_grpc = V2["ModelConfigResponse"].FromString(answer.body[5:]).config

    assert (by_rest["name"], by_rest["max_batch_size"], by_rest["platform"]) == (MODEL, 0, by_grpc.platform)
    assert [(each["name"], each["dims"]) for each in by_rest["input"]] == [(dtype.value, [-1, 3]) for dtype in DType]
    assert by_rest["output"] == [{"name": "any", "data_type": "TYPE_FP32", "dims": [-1]}]
    assert [(each.name, list(each.dims)) for each in by_grpc.input] == [(dtype.value, [-1, 3]) for dtype in DType]
    # Source: model_config.proto, DataType
    numbers = {each.name: each.data_type for each in by_grpc.input}
    names = {each["name"]: each["data_type"] for each in by_rest["input"]}
    assert (numbers["bool"], numbers["uint64"], numbers["int64"], numbers["float32"], numbers["string"]) == (
        1,
        5,
        9,
        11,
        13,
    )
    assert sorted(numbers.values()) == list(range(1, 14))
    assert (names["bool"], names["float16"], names["string"]) == ("TYPE_BOOL", "TYPE_FP16", "TYPE_STRING")
