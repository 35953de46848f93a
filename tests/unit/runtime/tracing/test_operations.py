"""The names of spans: few, whatever clients send, and one for all that a replica answers."""

from __future__ import annotations

import pytest
from tests.support.replica_parts import MODEL, assemble_inline

from fairlead_runtime.protocols.grpc import calls
from fairlead_runtime.tracing import operations
from fairlead_runtime.tracing.operations import Operation

RPC = "inference.GRPCInferenceService"


@pytest.mark.parametrize(
    ("path", "name", "route"),
    [
        ("/v2", "server metadata", "/v2"),
        ("/v2/health/ready", "health ready", "/v2/health/ready"),
        ("/v2/models/a", "metadata", "/v2/models/{model}"),
        ("/v2/models/a/infer", "infer", "/v2/models/{model}/infer"),
        ("/v2/models/a/versions/3/infer", "infer", "/v2/models/{model}/versions/{version}/infer"),
        ("/v2/models/a/explain", "explain", "/v2/models/{model}/explain"),
        ("/v1/models/a", "status", "/v1/models/{model}"),
        ("/v1/models/a/metadata", "metadata", "/v1/models/{model}/metadata"),
        ("/v1/models/a:predict", "predict", "/v1/models/{model}:predict"),
        ("/v1/models/a/versions/2:classify", "classify", "/v1/models/{model}/versions/{version}:classify"),
        ("/v1/models/a/labels/canary:regress", "regress", "/v1/models/{model}/labels/{label}:regress"),
        ("/v2/models/a/nothing", "POST", None),
        ("/v2x/models/a/infer", "POST", None),
        ("/v1/models/a:nothing", "POST", None),
        ("/v1/models/a/b/c/d:predict", "POST", None),
        ("/anything", "POST", None),
        (f"/rpc/models/a/{RPC}/Nothing", "POST", None),
        ("/rpc/models/a/b.C/ModelInfer", "POST", None),
    ],
)
def test_a_path_has_the_name_of_its_operation(path: str, name: str, route: str | None) -> None:
    found = operations.read("POST", path)
    assert found == Operation(name=name, route=route)


def test_a_call_has_the_name_of_its_method() -> None:
    name = f"{RPC}/ModelInfer"
    for path in (f"/rpc/models/a/{name}", f"/rpc/models/a/versions/3/{name}"):
        assert operations.read("POST", path) == Operation(name=name, rpc=name)


@pytest.mark.parametrize(
    "path",
    ["/-/healthz/x", "/-/measurements/x", "/metrics", "", "/v2/models/a/proof", "/v2/models/a/versions/1/proof"],
)
def test_what_gateways_the_operator_and_prometheus_ask_has_no_span(path: str) -> None:
    assert operations.read("GET", path) is None


def test_every_call_that_is_answered_has_a_name() -> None:
    parts = assemble_inline()
    answered = calls.Calls(parts.plane, parts.handler._v2._issuer, body_bytes_max=1)._services
    assert {service: set(methods) for service, methods in answered.items()} == operations.METHODS


def test_every_verb_that_is_answered_has_a_name() -> None:
    """A verb that does not exist is answered with 404, and these are not."""
    handler = assemble_inline().handler
    for verb in operations.V1_VERBS:
        assert verb in handler._v1._verbs
    assert len(handler._v1._verbs) == len(operations.V1_VERBS)
    from tests.support.replica_parts import answer_of, request

    for verb in operations.V2_VERBS - {"infer", "explain", "feedback"}:
        assert answer_of(handler, request("GET", f"/v2/models/{MODEL}/{verb}")).status == 200
