"""Which protocol answers which path; every refusal becomes an answer in one form."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.feedback import wiring
from fairlead_runtime.inference.dataplane import Dataplane, Phase
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.model import warmup
from fairlead_runtime.model.explaining.explainer import Explainer
from fairlead_runtime.protocols import encoding, explain_rest, feedback_rest, proof_rest, refusals, v1_rest, v2_rest
from fairlead_runtime.protocols.grpc import calls
from fairlead_runtime.protocols.http import Answer, Request, Response, dump
from fairlead_runtime.protocols.inferring import Inferring

LOG = logging.getLogger(__name__)
HEALTH_PREFIX = "/-/healthz/"
MEASUREMENTS_PREFIX = "/-/measurements/"
COPY_HEADER = b"x-fairlead-shadow-copy"
REPLICA_HEADER = b"x-fairlead-replica"
_CODE_BY_PHASE = {Phase.READY: 200, Phase.DRAINING: 404, Phase.LOADING: 503}


class Handler:
    """Answers one request at a time, without sockets: `check_head`, then `handle`, are the whole interface."""

    def __init__(
        self,
        dataplane: Dataplane,
        metrics: ReplicaMetrics,
        feedback: wiring.Feedback,
        warm_up: warmup.WarmUp,
        explainer: Explainer,
        *,
        body_bytes_max: int,
    ) -> None:
        self._dataplane = dataplane
        self._metrics = metrics
        self._name = dataplane.identity.name.encode()
        self._copy_mark = feedback.copy_mark
        self._body_bytes_max = body_bytes_max
        self._inferring = Inferring(dataplane)
        self._v1 = v1_rest.V1Rest(dataplane, feedback.issuer, body_bytes_max=body_bytes_max)
        self._v2 = v2_rest.V2Rest(
            dataplane,
            feedback.issuer,
            feedback_rest.FeedbackRest(feedback.ledger, metrics),
            proof_rest.ProofRest(dataplane, warm_up),
            explain_rest.ExplainRest(dataplane, explainer),
        )
        self._routes: tuple[tuple[str, Callable[[Request], Answer]], ...] = (
            ("/v2/", self._v2.handle),
            ("/v1/models/", self._v1.handle),
            (calls.PREFIX, calls.Calls(dataplane, feedback.issuer, body_bytes_max=body_bytes_max).handle),
            (HEALTH_PREFIX, self._health),
            (MEASUREMENTS_PREFIX, self._measurements),
        )

    def handle(self, request: Request) -> Answer:
        """Never raises: what goes wrong is in the answer."""
        try:
            return self._route(request)
        except RequestError as error:
            return refusals.answer(error)
        except Exception:
            # The outermost place for one request: the replica lives on, and the cause is in its log.
            LOG.exception("request failed: %s %.200s", request.method, request.path)
            return refusals.answer(
                RequestError(RequestReason.INTERNAL, "the replica failed to answer; its log says why")
            )

    def _route(self, request: Request) -> Answer:
        if COPY_HEADER in request.headers:
            self._require_copy(request)
        if encoding.HEADER in request.headers:
            return self._inferring.answer_with(
                lambda: encoding.unpack(request, self._body_bytes_max),
                self._answer,
                body_bytes=len(request.body) * encoding.UNPACKED_PER_BYTE,
            )
        return self._answer(request)

    def _answer(self, request: Request) -> Answer:
        path = request.path
        for prefix, answer in self._routes:
            if path.startswith(prefix):
                return answer(request)
        if path == "/v2":
            return self._v2.handle(request)
        if path == "/metrics":
            return Response(
                status=200, body=self._metrics.text(), content_type=b"text/plain; version=0.0.4; charset=utf-8"
            )
        raise RequestError(RequestReason.UNKNOWN_PATH, f"the path {path[:100]!r} does not exist")

    def check_head(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises RequestError when the gateway means another replica, which had this port before.

        For before the body is read: its limits and its meaning are the other replica's.
        """
        intended = headers.get(REPLICA_HEADER)
        if intended is not None and intended != self._name:
            raise RequestError(
                RequestReason.WRONG_REPLICA,
                "this address belongs to another replica now; the gateway repeats the request elsewhere",
            )

    def _health(self, request: Request) -> Response:
        """Source: docs/contracts.md, Gateway → replica."""
        self._require_mine(request.path.removeprefix(HEALTH_PREFIX))
        phase = self._dataplane.phase
        trouble = self._dataplane.trouble()
        if trouble is not None:
            return Response(status=503, body=dump({"phase": phase.value, "error": trouble}), protocol="health")
        absent = self._dataplane.absent()
        if absent is not None and phase is Phase.READY:
            return Response(status=503, body=dump({"phase": phase.value, "error": absent}), protocol="health")
        return Response(status=_CODE_BY_PHASE[phase], body=dump({"phase": phase.value}), protocol="health")

    def _measurements(self, request: Request) -> Response:
        self._require_mine(request.path.removeprefix(MEASUREMENTS_PREFIX))
        return Response(status=200, body=dump(self._metrics.measured.body()), protocol="measurements")

    def _require_copy(self, request: Request) -> None:
        """Only a replica may mark a request as a copy: the gateway does not count copies as client requests."""
        mark = self._copy_mark
        if mark is not None and not hmac.compare_digest(request.headers[COPY_HEADER], mark):
            raise RequestError(RequestReason.COPY_REFUSED, "x-fairlead-shadow-copy is for copies that replicas send")

    def _require_mine(self, name: str) -> None:
        own = self._dataplane.identity.name
        if name != own:
            raise RequestError(RequestReason.REPLICA_GONE, f"another replica, {own}, is at this address")
