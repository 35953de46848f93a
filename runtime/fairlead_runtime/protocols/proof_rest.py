"""`POST /v2/models/NAME/proof`: this replica runs its own example and reports how it went.

No tensor travels: the operator, who asks, gets a digest, a signature and one sentence, however large the model's inputs
and outputs are. Source: docs/contracts.md, "Operator: proof before traffic".
"""

from __future__ import annotations

from enum import StrEnum

from fairlead_runtime.errors import RequestError, RequestReason, one_sentence
from fairlead_runtime.inference.dataplane import Dataplane
from fairlead_runtime.model.evaluation_record import Found
from fairlead_runtime.model.variant import VariantChoice
from fairlead_runtime.model.warmup import WarmUp
from fairlead_runtime.protocols import datatypes, refusals
from fairlead_runtime.protocols.http import Answer, Request, Response, dump, then

PROTOCOL = "proof"
SCHEMA = 1
VARIANT_CHARS_MAX = 1024
"""Of the sentence on what serves and why each of the others does not: all nine variants fit."""


class Outcome(StrEnum):
    """What the operator may conclude."""

    PROVED = "Proved"
    NOT_PROVED_BY_EXAMPLE = "NotProvedByExample"
    """The model refuses what was made up from its signature, which says nothing about a client's input."""
    FAILED = "Failed"
    """The model failed by itself."""


_OUTCOMES = {
    RequestReason.INVALID_INPUT: Outcome.NOT_PROVED_BY_EXAMPLE,
    RequestReason.MODEL_FAILED: Outcome.FAILED,
}
"""Every other refusal is of this moment (busy, draining, too slow) and is answered as to a client."""


class ProofRest:
    """Answers one request for a proof. It is admitted and timed as a client's prediction is."""

    def __init__(self, dataplane: Dataplane, warm_up: WarmUp) -> None:
        self._dataplane = dataplane
        self._warm_up = warm_up

    def handle(self, request: Request) -> Answer:
        """The answer to one request. Raises RequestError for what the protocol refuses."""
        if request.method != "POST":
            raise RequestError(RequestReason.WRONG_METHOD, "proof: only POST is allowed")
        example = self._warm_up.example
        if example is None:
            return self._report(Outcome.NOT_PROVED_BY_EXAMPLE, self._warm_up.refusal or "there is no example")
        try:
            result = self._dataplane.infer(example)
        except RequestError as error:
            return self._report_refusal(error)
        return then(result, lambda _: self._report(Outcome.PROVED, self._warm_up.refusal or ""), self._report_refusal)

    def _report_refusal(self, error: RequestError) -> Response:
        outcome = _OUTCOMES.get(error.reason)
        return refusals.answer(error) if outcome is None else self._report(outcome, error.sentence)

    def _report(self, outcome: Outcome, message: str) -> Response:
        identity, signature = self._dataplane.identity, self._dataplane.signature
        body = {
            "schema": SCHEMA,
            "revision": identity.revision,
            "digest": identity.digest,
            "outcome": outcome.value,
            "message": one_sentence(message),
            "sharesCalls": self._dataplane.is_sharing,
            "evaluation": _describe(identity.evaluation),
            "variant": _describe_variant(identity.variant),
            "inputs": [datatypes.describe(spec) for spec in signature.inputs],
            "outputs": [datatypes.describe(spec) for spec in signature.outputs],
        }
        return Response(status=200, body=dump(body), protocol=PROTOCOL)


def _describe_variant(choice: VariantChoice | None) -> dict[str, object] | None:
    """Which variant serves and why; null where none was asked for."""
    if choice is None:
        return None
    return {
        "name": choice.name,
        "reason": choice.reason.value,
        "message": one_sentence(choice.why, most=VARIANT_CHARS_MAX),
    }


def _describe(found: Found) -> dict[str, object]:
    """The record in a few words and numbers; the table of classes stays in the file."""
    head: dict[str, object] = {"outcome": found.outcome.value, "message": one_sentence(found.message)}
    record = found.record
    if record is None:
        return head
    return {
        **head,
        "metric": record.metric.value,
        "value": record.value,
        "low": record.interval.low,
        "high": record.interval.high,
        "samples": record.samples,
    }
