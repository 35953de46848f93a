"""The messages of the Open Inference Protocol and of Triton's extensions that a replica reads and writes.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
Source: https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
"""

from __future__ import annotations

from fairlead_runtime.protocols.grpc.schema import build, by_name, many, one

_TENSOR = (one(1, "string", "name"), one(2, "string", "datatype"), many(3, "int64", "shape"))
_MODEL = (one(1, "string", "name"), one(2, "string", "version"))
_DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss")
_TENSOR_WITH_DATA = (*_TENSOR, by_name(4, "InferParameter", "parameters"), one(5, "InferTensorContents", "contents"))

MESSAGES = build(
    "inference",
    {
        "InferParameter": (
            one(1, "bool", "bool_param"),
            one(2, "int64", "int64_param"),
            one(3, "string", "string_param"),
            one(4, "double", "double_param"),
            one(5, "uint64", "uint64_param"),
        ),
        "InferTensorContents": (
            many(1, "bool", "bool_contents"),
            many(2, "int32", "int_contents"),
            many(3, "int64", "int64_contents"),
            many(4, "uint32", "uint_contents"),
            many(5, "uint64", "uint64_contents"),
            many(6, "float", "fp32_contents"),
            many(7, "double", "fp64_contents"),
            many(8, "bytes", "bytes_contents"),
        ),
        "ModelReadyRequest": _MODEL,
        "ModelReadyResponse": (one(1, "bool", "ready"),),
        "ModelMetadataRequest": _MODEL,
        "TensorMetadata": _TENSOR,
        "ModelMetadataResponse": (
            one(1, "string", "name"),
            many(2, "string", "versions"),
            one(3, "string", "platform"),
            many(4, "TensorMetadata", "inputs"),
            many(5, "TensorMetadata", "outputs"),
        ),
        "InferInputTensor": _TENSOR_WITH_DATA,
        "InferRequestedOutputTensor": (one(1, "string", "name"), by_name(2, "InferParameter", "parameters")),
        "InferOutputTensor": _TENSOR_WITH_DATA,
        "ModelInferRequest": (
            one(1, "string", "model_name"),
            one(2, "string", "model_version"),
            one(3, "string", "id"),
            by_name(4, "InferParameter", "parameters"),
            many(5, "InferInputTensor", "inputs"),
            many(6, "InferRequestedOutputTensor", "outputs"),
            many(7, "bytes", "raw_input_contents"),
        ),
        "ModelInferResponse": (
            one(1, "string", "model_name"),
            one(2, "string", "model_version"),
            one(3, "string", "id"),
            by_name(4, "InferParameter", "parameters"),
            many(5, "InferOutputTensor", "outputs"),
            many(6, "bytes", "raw_output_contents"),
        ),
        "ModelConfigRequest": _MODEL,
        "ModelConfig": (
            one(1, "string", "name"),
            one(2, "string", "platform"),
            one(4, "int32", "max_batch_size"),
            many(5, "ModelInput", "input"),
            many(6, "ModelOutput", "output"),
        ),
        "ModelInput": (one(1, "string", "name"), one(2, "int32", "data_type"), many(4, "int64", "dims")),
        "ModelOutput": (one(1, "string", "name"), one(2, "int32", "data_type"), many(3, "int64", "dims")),
        "ModelConfigResponse": (one(1, "ModelConfig", "config"),),
        "ModelStatisticsRequest": _MODEL,
        "StatisticDuration": (one(1, "uint64", "count"), one(2, "uint64", "ns")),
        "InferStatistics": tuple(one(i, "StatisticDuration", name) for i, name in enumerate(_DURATIONS, 1)),
        "ModelStatistics": (
            one(1, "string", "name"),
            one(2, "string", "version"),
            one(3, "uint64", "last_inference"),
            one(4, "uint64", "inference_count"),
            one(5, "uint64", "execution_count"),
            one(6, "InferStatistics", "inference_stats"),
        ),
        "ModelStatisticsResponse": (many(1, "ModelStatistics", "model_stats"),),
    },
)
