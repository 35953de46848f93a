"""Which requests are recorded, and as what. Runs on the server's loop, after the answer was written."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fairlead_runtime.protocols import handler
from fairlead_runtime.protocols.http import Request, Response
from fairlead_runtime.server.writer import REQUEST_ID, REQUEST_ID_BYTES_MAX
from fairlead_runtime.tracing import operations
from fairlead_spans import trace_context
from fairlead_spans.span import AnsweredRequest, Value

PATH_CHARS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Whose requests they are."""

    namespace: str
    model: str
    revision: str
    replica: str

    def describe(self) -> dict[str, Value]:
        """The replica as a resource, in the words of OpenTelemetry's semantic conventions."""
        return {
            "service.name": self.model,
            "service.namespace": self.namespace,
            "service.version": self.revision,
            "service.instance.id": self.replica,
        }


class Tracer:
    """Hands on the requests whose client, or else chance, decided that they are recorded."""

    def __init__(self, names: Names, share: float, take: Callable[[AnsweredRequest], None]) -> None:
        """`share`: of the requests that don't say themselves whether they are recorded, from 0 to 1."""
        self._share = share
        self._take = take
        self._constant: dict[str, Value] = {
            "fairlead.namespace": names.namespace,
            "fairlead.model": names.model,
            "fairlead.revision": names.revision,
        }

    def record(self, request: Request, response: Response, arrived_s: float) -> None:
        """Record an answered request that arrived then, by the clock of `time.perf_counter`. Never waits."""
        parent = trace_context.read_parent(request.headers)
        if not (parent.is_sampled if parent is not None else random.random() < self._share):  # noqa: S311 - no secret
            return
        operation = operations.read(request.method, request.path)
        if operation is None:
            return
        self._take(
            AnsweredRequest(
                name=operation.name,
                attributes=self._describe(operation, request, response),
                status=response.status,
                parent=parent,
                state=trace_context.read_state(request.headers) if parent is not None else "",
                arrived_s=arrived_s,
                ended_s=time.perf_counter(),
                ended_ns=time.time_ns(),
                phases=response.phases,
            )
        )

    def _describe(self, operation: operations.Operation, request: Request, response: Response) -> dict[str, Value]:
        body = response.body if response.packed is None else response.packed
        described = {
            **self._constant,
            "http.request.method": request.method,
            "http.response.status_code": response.status,
            "http.request.body.size": len(request.body),
            "http.response.body.size": len(body),
            "url.scheme": "http",
            "url.path": request.path[:PATH_CHARS_MAX],
            "network.peer.address": request.peer,
        }
        if operation.route is not None:
            described["http.route"] = operation.route
        if operation.rpc is not None:
            described |= {"rpc.system.name": "grpc", "rpc.method": operation.rpc}
            if response.status == 200:
                described["rpc.response.status_code"] = "OK"
        if response.status >= 500:
            described["error.type"] = str(response.status)
        request_id = request.headers.get(REQUEST_ID)
        if request_id and len(request_id) <= REQUEST_ID_BYTES_MAX:
            described["fairlead.request_id"] = request_id.decode("latin-1")
        if handler.COPY_HEADER in request.headers:
            described["fairlead.shadow_copy"] = True
        return described
