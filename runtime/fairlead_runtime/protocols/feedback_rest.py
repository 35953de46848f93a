"""`POST /v2/models/NAME/feedback`: true labels for earlier answers. Source: docs/feedback.md."""

from __future__ import annotations

from fairlead_runtime.errors import RequestError, RequestReason, WrongMethodError
from fairlead_runtime.feedback import ledger, tokens
from fairlead_runtime.metrics import ReplicaMetrics
from fairlead_runtime.protocols.http import Request, Response, dump, parse_object

PROTOCOL = "feedback"
ITEMS_MAX = 256
BODY_BYTES_MAX = 256 * 1024
"""More than so many items take."""

_REASONS = {
    tokens.TokenFault.MALFORMED: RequestReason.MALFORMED,
    tokens.TokenFault.FOREIGN: RequestReason.FEEDBACK_REFUSED,
    tokens.TokenFault.FORGED: RequestReason.FEEDBACK_REFUSED,
    tokens.TokenFault.EXPIRED: RequestReason.FEEDBACK_REFUSED,
}


class FeedbackRest:
    """Answers one feedback request."""

    def __init__(self, taker: ledger.Ledger | None, metrics: ReplicaMetrics) -> None:
        self._ledger = taker
        self._metrics = metrics

    def decode(self, request: Request) -> dict[str, object]:
        """The body of a request that may be taken, on any thread; raises RequestError."""
        if request.method != "POST":
            raise WrongMethodError("feedback", "POST")
        if self._ledger is None:
            text = "this replica issues no feedback tokens: its Ray cluster has no authentication token"
            raise RequestError(RequestReason.FEEDBACK_OFF, text)
        if len(request.body) > BODY_BYTES_MAX:
            raise RequestError(RequestReason.TOO_LARGE, f"a feedback request may have at most {BODY_BYTES_MAX} bytes")
        return parse_object(request.body)

    def take(self, request: Request, body: dict[str, object]) -> Response:
        """The answer, on the server's loop; raises RequestError."""
        if self._ledger is None:
            raise RuntimeError("decoded feedback has no ledger to go to")
        items = body.get("feedback")
        if items is None:
            outcome = self._take(self._ledger, body, request.headers.get(tokens.HEADER))
            return _answer(outcome.labelled, outcome.correct, int(outcome.is_repeated), [])
        if not isinstance(items, list) or not 1 <= len(items) <= ITEMS_MAX:
            raise RequestError(RequestReason.INVALID_INPUT, f"feedback must be a list of 1 to {ITEMS_MAX} objects")
        return self._take_all(self._ledger, items)

    def _take_all(self, taker: ledger.Ledger, items: list[object]) -> Response:
        """Handle each item by itself: an error is reported for its item and stops no other."""
        labelled = correct = repeated = 0
        refused: list[dict[str, object]] = []
        for index, item in enumerate(items):
            try:
                outcome = self._take(taker, item, None)
            except RequestError as error:
                refused.append({"index": index, "error": error.sentence})
                continue
            labelled += outcome.labelled
            correct += outcome.correct
            repeated += outcome.is_repeated
        return _answer(labelled, correct, repeated, refused)

    def _take(self, taker: ledger.Ledger, item: object, header: bytes | None) -> ledger.Outcome:
        if not isinstance(item, dict):
            raise self._refuse("malformed", RequestReason.MALFORMED, "each element of feedback must be an object")
        token = item.get("token", header.decode("latin-1") if header is not None else None)
        if not isinstance(token, str) or "label" not in item:
            text = "feedback needs token (the value of the answer's x-fairlead-feedback header) and label"
            raise self._refuse("malformed", RequestReason.MALFORMED, text)
        try:
            outcome = taker.take(token, item["label"], item.get("tolerance"))
        except tokens.TokenError as error:
            raise self._refuse(error.fault.value, _REASONS[error.fault], error.sentence) from None
        except ledger.LabelError as error:
            raise self._refuse("label", RequestReason.INVALID_INPUT, str(error)) from None
        self._metrics.feedback_repeated += outcome.is_repeated
        return outcome

    def _refuse(self, kind: str, reason: RequestReason, sentence: str) -> RequestError:
        self._metrics.feedback_refused[kind] = self._metrics.feedback_refused.get(kind, 0) + 1
        return RequestError(reason, sentence)


def _answer(labelled: int, correct: int, repeated: int, refused: list[dict[str, object]]) -> Response:
    body: dict[str, object] = {"labelled": labelled, "correct": correct, "repeated": repeated}
    if refused:
        body["refused"] = refused
    return Response(status=200, body=dump(body), protocol=PROTOCOL)
