"""What server reflection says of the services is what replicas and gateway read and write.

`FAIRLEAD_REFRESH=1 .venv/bin/python -m pytest tests/contract/test_reflected_services.py` writes the file again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from google.protobuf import descriptor_pb2, descriptor_pool
from tests.support import reflected_services, replica_parts

from fairlead_gateway.server_calls import descriptors, server
from fairlead_runtime.protocols.grpc import v1_service, v2_service

REFRESH = os.environ.get("FAIRLEAD_REFRESH") == "1"


def test_the_file_is_current_and_each_name_in_it_is_found() -> None:
    if REFRESH:
        reflected_services.FILE.write_text(reflected_services.text(), "utf-8")
    assert reflected_services.FILE.read_text("utf-8") == reflected_services.text(), "refresh it with FAIRLEAD_REFRESH=1"
    known = descriptors.catalogue()
    files = {name: descriptor_pb2.FileDescriptorProto.FromString(content) for name, content in known.files.items()}
    assert files == reflected_services.build()
    pool = descriptor_pool.DescriptorPool()
    for file in files.values():
        pool.Add(file)
    for symbol, file_name in known.symbols.items():
        service, _, method = symbol.rpartition(".")
        if service in known.services:
            assert method in pool.FindServiceByName(service).methods_by_name
        else:
            assert pool.FindFileContainingSymbol(symbol).name == file_name
    assert known.symbols.keys() == set(_symbols(files.values()))


def _symbols(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> Iterator[str]:
    for file in files:
        for message in file.message_type:
            yield f"{file.package}.{message.name}"
            yield from (f"{file.package}.{message.name}.{nested.name}" for nested in message.nested_type)
        for service in file.service:
            yield f"{file.package}.{service.name}"
            yield from (f"{file.package}.{service.name}.{method.name}" for method in service.method)


def test_each_method_that_is_served_is_described_and_no_other() -> None:
    plane = replica_parts.assemble_inline().plane
    issuer = replica_parts.assemble_inline().handler._v2._issuer
    v1 = v1_service.V1Service(plane, issuer, body_bytes_max=1 << 20)
    described = reflected_services.METHODS
    of_inference = set(described["inference"]["GRPCInferenceService"]) - set(reflected_services.INFERENCE)
    assert set(v2_service.V2Service(plane, issuer).methods) == of_inference
    of_tensorflow = described["tensorflow.serving"]
    assert set(v1.prediction_methods) == set(of_tensorflow["PredictionService"])
    assert set(v1.model_methods) == set(of_tensorflow["ModelService"])
    assert server.SERVICES - {""} <= set(descriptors.catalogue().services)
