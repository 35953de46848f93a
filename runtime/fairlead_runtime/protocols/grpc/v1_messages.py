"""The messages of TensorFlow Serving's APIs that a replica reads and writes, with the tensors in them.

Source: https://github.com/tensorflow/serving/tree/master/tensorflow_serving/apis
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/tensor.proto
Source: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/example.proto
"""

from __future__ import annotations

from fairlead_runtime.protocols.grpc.schema import build, by_name, many, one

_MODEL_AND_INPUT = (one(1, "ModelSpec", "model_spec"), one(2, "Input", "input"))

MESSAGES = build(
    "tensorflow.serving",
    {
        "Int64Value": (one(1, "int64", "value"),),
        "ModelSpec": (
            one(1, "string", "name"),
            one(2, "Int64Value", "version"),
            one(3, "string", "signature_name"),
            one(4, "string", "version_label"),
        ),
        "Dim": (one(1, "int64", "size"), one(2, "string", "name")),
        "TensorShape": (many(2, "Dim", "dim"), one(3, "bool", "unknown_rank")),
        "TensorProto": (
            one(1, "int32", "dtype"),
            one(2, "TensorShape", "tensor_shape"),
            one(4, "bytes", "tensor_content"),
            many(5, "float", "float_val"),
            many(6, "double", "double_val"),
            many(7, "int32", "int_val"),
            many(8, "bytes", "string_val"),
            many(10, "int64", "int64_val"),
            many(11, "bool", "bool_val"),
            many(13, "int32", "half_val"),
            many(16, "uint32", "uint32_val"),
            many(17, "uint64", "uint64_val"),
        ),
        "PredictRequest": (
            one(1, "ModelSpec", "model_spec"),
            by_name(2, "TensorProto", "inputs"),
            many(3, "string", "output_filter"),
        ),
        "PredictResponse": (by_name(1, "TensorProto", "outputs"), one(2, "ModelSpec", "model_spec")),
        "GetModelMetadataRequest": (one(1, "ModelSpec", "model_spec"), many(2, "string", "metadata_field")),
        "GetModelMetadataResponse": (one(1, "ModelSpec", "model_spec"), by_name(2, "Any", "metadata")),
        "Any": (one(1, "string", "type_url"), one(2, "bytes", "value")),
        "SignatureDefMap": (by_name(1, "SignatureDef", "signature_def"),),
        "SignatureDef": (
            by_name(1, "TensorInfo", "inputs"),
            by_name(2, "TensorInfo", "outputs"),
            one(3, "string", "method_name"),
        ),
        "TensorInfo": (one(1, "string", "name"), one(2, "int32", "dtype"), one(3, "TensorShape", "tensor_shape")),
        "GetModelStatusRequest": (one(1, "ModelSpec", "model_spec"),),
        "GetModelStatusResponse": (many(1, "ModelVersionStatus", "model_version_status"),),
        "ModelVersionStatus": (
            one(1, "int64", "version"),
            one(2, "int32", "state"),
            one(3, "StatusProto", "status"),
        ),
        "StatusProto": (one(1, "int32", "error_code"), one(2, "string", "error_message")),
        # Examples go on to the model as they came; `Example` is for looking into them.
        "ExampleList": (many(1, "bytes", "examples"),),
        "ExampleListWithContext": (many(1, "bytes", "examples"), one(2, "bytes", "context")),
        "Input": (
            one(1, "ExampleList", "example_list"),
            one(2, "ExampleListWithContext", "example_list_with_context"),
        ),
        "Example": (one(1, "Features", "features"),),
        "Features": (by_name(1, "Feature", "feature"),),
        "Feature": (
            one(1, "BytesList", "bytes_list"),
            one(2, "FloatList", "float_list"),
            one(3, "Int64List", "int64_list"),
        ),
        "BytesList": (many(1, "bytes", "value"),),
        "FloatList": (many(1, "float", "value"),),
        "Int64List": (many(1, "int64", "value"),),
        "ClassificationRequest": _MODEL_AND_INPUT,
        "ClassificationResponse": (one(1, "ClassificationResult", "result"), one(2, "ModelSpec", "model_spec")),
        "ClassificationResult": (many(1, "Classifications", "classifications"),),
        "Classifications": (many(1, "Class", "classes"),),
        "Class": (one(1, "string", "label"), one(2, "float", "score")),
        "RegressionRequest": _MODEL_AND_INPUT,
        "RegressionResponse": (one(1, "RegressionResult", "result"), one(2, "ModelSpec", "model_spec")),
        "RegressionResult": (many(1, "Regression", "regressions"),),
        "Regression": (one(1, "float", "value"),),
        "MultiInferenceRequest": (many(1, "InferenceTask", "tasks"), one(2, "Input", "input")),
        "InferenceTask": (one(1, "ModelSpec", "model_spec"), one(2, "string", "method_name")),
        "MultiInferenceResponse": (many(1, "InferenceResult", "results"),),
        "InferenceResult": (
            one(1, "ModelSpec", "model_spec"),
            one(2, "ClassificationResult", "classification_result"),
            one(3, "RegressionResult", "regression_result"),
        ),
    },
)
