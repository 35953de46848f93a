"""The evaluation records that lie beside the models of the virtual world, by the words in their addresses."""

from __future__ import annotations

from fairlead_operator.api.evaluation_status import Evaluation, EvaluationOutcome


def evaluation_of(uri: str) -> Evaluation:
    """What a replica finds beside the model at this address."""
    if "/unevaluated" in uri:
        return Evaluation(outcome=EvaluationOutcome.ABSENT, message="there is no file evaluation.json beside the model")
    if "/foreign" in uri:
        return Evaluation(
            outcome=EvaluationOutcome.OTHER_MODEL, message="evaluation.json is of a model with another digest"
        )
    value, low, high = (0.91, 0.8818, 0.9320) if "/poor" in uri else (0.97, 0.9512, 0.9817)
    return Evaluation(outcome=EvaluationOutcome.READ, metric="Accuracy", value=value, low=low, high=high, samples=500)
