"""Which service and method answers a call that the gateway hands on: `/rpc/models/NAME[/versions/V]/SERVICE/METHOD`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairlead_runtime.errors import RequestError, RequestReason, WrongMethodError
from fairlead_runtime.feedback.issuer import Issuer
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.protocols.grpc import v1_service, v2_service
from fairlead_runtime.protocols.http import Answer, Request

PREFIX = "/rpc/models/"


class Calls:
    """Answers everything below `/rpc/models/`. The path's model and version are checked as any other protocol's."""

    def __init__(self, dataplane: Dataplane, issuer: Issuer, *, body_bytes_max: int) -> None:
        self._dataplane = dataplane
        v1 = v1_service.V1Service(dataplane, issuer, body_bytes_max=body_bytes_max)
        self._services: Mapping[str, Mapping[str, Callable[[bytes], Answer]]] = {
            v2_service.NAME: v2_service.V2Service(dataplane, issuer).methods,
            v1_service.PREDICTION: v1.prediction_methods,
            v1_service.MODEL: v1.model_methods,
        }

    def handle(self, request: Request) -> Answer:
        """The answer to one call. Raises RequestError for what is refused."""
        match request.path.removeprefix(PREFIX).split("/"):
            case [model, service, method]:
                version = None
            case [model, "versions", version, service, method]:
                pass
            case _:
                raise RequestError(RequestReason.UNKNOWN_PATH, f"the path {request.path[:100]!r} does not exist")
        if request.method != "POST":
            raise WrongMethodError("a call", "POST")
        self._dataplane.require_model(model, version)
        answer = self._services.get(service, {}).get(method)
        if answer is None:
            text = f"the method {service[:100]}/{method[:100]} is not implemented"
            raise RequestError(RequestReason.UNKNOWN_METHOD, text)
        return answer(request.body)
