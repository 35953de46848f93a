"""What a request asks for, in the words of OpenTelemetry's semantic conventions.

A name has few values, whatever clients send: a path that no protocol has gives none.
Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
Source: https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_runtime.protocols.grpc import calls, v1_service, v2_service

V2_VERBS = frozenset({"ready", "infer", "feedback", "config", "stats", "explain"})
V1_VERBS = frozenset({"predict", "classify", "regress"})
METHODS = {
    v2_service.NAME: frozenset({"ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer"}),
    v1_service.PREDICTION: frozenset({"Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"}),
    v1_service.MODEL: frozenset({"GetModelStatus"}),
}
_INTERNAL = ("/-/", "/metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kind of request; `route` is its path with names of parts, where it came by REST, and `rpc` its method."""

    name: str
    route: str | None = None
    rpc: str | None = None


def read(method: str, path: str) -> Operation | None:
    """The operation of a request; None for those that clients don't send: health checks, scrapes and proofs."""
    if path.startswith(_INTERNAL) or not path or _is_proof(path):
        return None
    found = None
    if path.startswith("/v2"):
        found = _v2(path)
    elif path.startswith("/v1/models/"):
        found = _v1(path)
    elif path.startswith(calls.PREFIX):
        found = _rpc(path)
    return found or Operation(name=method)


def _is_proof(path: str) -> bool:
    """Whether the operator asks the replica to run its example."""
    match path.strip("/").split("/"):
        case ["v2", "models", _, "proof"] | ["v2", "models", _, "versions", _, "proof"]:
            return True
        case _:
            return False


def _v2(path: str) -> Operation | None:
    match path.strip("/").split("/"):
        case ["v2"]:
            return Operation(name="server metadata", route="/v2")
        case ["v2", "health", ("live" | "ready") as probe]:
            return Operation(name=f"health {probe}", route=f"/v2/health/{probe}")
        case ["v2", "models", _, "versions", _, *rest]:
            route = "/v2/models/{model}/versions/{version}"
        case ["v2", "models", _, *rest]:
            route = "/v2/models/{model}"
        case _:
            return None
    match rest:
        case []:
            return Operation(name="metadata", route=route)
        case [verb] if verb in V2_VERBS:
            return Operation(name=verb, route=f"{route}/{verb}")
        case _:
            return None


def _v1(path: str) -> Operation | None:
    base, _, verb = path.rstrip("/").partition(":")
    match base.removeprefix("/v1/models/").split("/"):
        case [_, *rest] if not rest or rest == ["metadata"]:
            route = "/v1/models/{model}"
        case [_, "versions" | "labels" as kind, _, *rest] if not rest or rest == ["metadata"]:
            route = f"/v1/models/{{model}}/{kind}/{{{kind[:-1]}}}"
        case _:
            return None
    if verb:
        return Operation(name=verb, route=f"{route}:{verb}") if verb in V1_VERBS and not rest else None
    return Operation(name="metadata", route=f"{route}/metadata") if rest else Operation(name="status", route=route)


def _rpc(path: str) -> Operation | None:
    match path.removeprefix(calls.PREFIX).split("/"):
        case [_, service, method] | [_, "versions", _, service, method] if method in METHODS.get(service, ()):
            name = f"{service}/{method}"
            return Operation(name=name, rpc=name)
        case _:
            return None
