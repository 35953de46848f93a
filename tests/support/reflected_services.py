"""The descriptors that the gateway's server reflection answers with, out of the messages that are read and written.

The replica's messages are those of its tables; the gateway's own, which it writes by hand, are described here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from fairlead_gateway.server_calls import descriptors
from fairlead_runtime.protocols.grpc import schema, v1_messages, v2_messages
from fairlead_runtime.protocols.grpc.schema import many, one

FILE = Path(descriptors.__file__).with_name(descriptors.FILE)

OF_THE_GATEWAY = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (one(1, "bool", "live"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (one(1, "bool", "ready"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (
        one(1, "string", "name"),
        one(2, "string", "version"),
        many(3, "string", "extensions"),
    ),
    "RepositoryIndexRequest": (one(1, "string", "repository_name"), one(2, "bool", "ready")),
    "RepositoryIndexResponse": (many(1, "ModelIndex", "models"),),
    "ModelIndex": (
        one(1, "string", "name"),
        one(2, "string", "version"),
        one(3, "string", "state"),
        one(4, "string", "reason"),
    ),
}
INFERENCE = ("ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex")
METHODS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "inference": {
        "GRPCInferenceService": {
            name: name
            for name in (*INFERENCE, "ModelReady", "ModelMetadata", "ModelInfer", "ModelConfig", "ModelStatistics")
        }
    },
    "tensorflow.serving": {
        "PredictionService": {
            "Predict": "Predict",
            "Classify": "Classification",
            "Regress": "Regression",
            "MultiInference": "MultiInference",
            "GetModelMetadata": "GetModelMetadata",
        },
        "ModelService": {"GetModelStatus": "GetModelStatus"},
    },
    "grpc.health.v1": {"Health": {"Check": "HealthCheck"}},
}
"""By package and service, each method with what its messages' names begin with."""

EXAMPLES = frozenset(
    {("ExampleList", "examples"), ("ExampleListWithContext", "examples"), ("ExampleListWithContext", "context")}
)
"""Fields that a replica reads as bytes, which they are on the wire, and clients write as messages."""

HEALTH = {"HealthCheckRequest": (one(1, "string", "service"),), "HealthCheckResponse": (one(1, "int32", "status"),)}
REFLECTION = {
    "ServerReflectionRequest": (
        one(1, "string", "host"),
        one(3, "string", "file_by_filename"),
        one(4, "string", "file_containing_symbol"),
        one(5, "ExtensionRequest", "file_containing_extension"),
        one(6, "string", "all_extension_numbers_of_type"),
        one(7, "string", "list_services"),
    ),
    "ExtensionRequest": (one(1, "string", "containing_type"), one(2, "int32", "extension_number")),
    "ServerReflectionResponse": (
        one(1, "string", "valid_host"),
        one(2, "ServerReflectionRequest", "original_request"),
        one(4, "FileDescriptorResponse", "file_descriptor_response"),
        one(5, "ExtensionNumberResponse", "all_extension_numbers_response"),
        one(6, "ListServiceResponse", "list_services_response"),
        one(7, "ErrorResponse", "error_response"),
    ),
    "FileDescriptorResponse": (many(1, "bytes", "file_descriptor_proto"),),
    "ExtensionNumberResponse": (one(1, "string", "base_type_name"), many(2, "int32", "extension_number")),
    "ListServiceResponse": (many(1, "ServiceResponse", "service"),),
    "ServiceResponse": (one(1, "string", "name"),),
    "ErrorResponse": (one(1, "int32", "error_code"), one(2, "string", "error_message")),
}
REFLECTIONS = ("grpc.reflection.v1", "grpc.reflection.v1alpha")


def build() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """The descriptors by the names of their files; no file needs another."""
    files = [
        _with_services("inference", (v2_messages.MESSAGES, schema.build("inference", OF_THE_GATEWAY))),
        _with_services("tensorflow.serving", (v1_messages.MESSAGES,)),
        _with_services("grpc.health.v1", (schema.build("grpc.health.v1", HEALTH),)),
        *map(_reflection, REFLECTIONS),
    ]
    return {file.name: file for file in files}


def text() -> str:
    """The content of the gateway's file: the same descriptors, in the words of a .proto file."""
    content = {
        file.package: {
            "messages": {message.name: _fields(message) for message in file.message_type},
            "services": {service.name: _methods(service) for service in file.service},
        }
        for file in build().values()
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _fields(message: descriptor_pb2.DescriptorProto) -> list[str]:
    values = {entry.name: entry.field[1] for entry in message.nested_type}
    lines = []
    for field in message.field:
        value = values.get(field.type_name.rpartition(".")[2])
        if value is not None:
            kind = f"map<string, {_kind(value)}>"
        else:
            kind = ("repeated " if field.label == field.LABEL_REPEATED else "") + _kind(field)
        lines.append(f"{kind} {field.name} = {field.number}")
    return lines


def _kind(field: descriptor_pb2.FieldDescriptorProto) -> str:
    if field.type == field.TYPE_MESSAGE:
        return field.type_name.rpartition(".")[2]
    return field.Type.Name(field.type).removeprefix("TYPE_").lower()


def _methods(service: descriptor_pb2.ServiceDescriptorProto) -> list[str]:
    def side(type_name: str, is_stream: bool) -> str:
        return ("stream " if is_stream else "") + type_name.rpartition(".")[2]

    return [
        f"{method.name}({side(method.input_type, method.client_streaming)}) "
        f"returns ({side(method.output_type, method.server_streaming)})"
        for method in service.method
    ]


def _with_services(package: str, messages: Iterable[Mapping[str, Any]]) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for each in messages:
        part = descriptor_pb2.FileDescriptorProto()
        next(iter(each.values())).DESCRIPTOR.file.CopyToProto(part)
        file.message_type.extend(part.message_type)
    for message in file.message_type:
        for field in message.field:
            if (message.name, field.name) in EXAMPLES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{package}.Example"
    for service, methods in METHODS[package].items():
        described = file.service.add(name=service)
        for method, prefix in methods.items():
            types = (f".{package}.{prefix}{end}" for end in ("Request", "Response"))
            described.method.add(name=method, input_type=next(types), output_type=next(types))
    return file


def _reflection(package: str) -> descriptor_pb2.FileDescriptorProto:
    (first, *_) = schema.build(package, REFLECTION).values()
    file = descriptor_pb2.FileDescriptorProto()
    first.DESCRIPTOR.file.CopyToProto(file)
    file.service.add(name="ServerReflection").method.add(
        name="ServerReflectionInfo",
        input_type=f".{package}.ServerReflectionRequest",
        output_type=f".{package}.ServerReflectionResponse",
        client_streaming=True,
        server_streaming=True,
    )
    return file
