"""What a person writes in ``spec.serving.guards``: what is looked for in requests and answers, and what follows."""

from __future__ import annotations

from enum import StrEnum

from fairlead_operator.api.model import ApiModel


class GuardMode(StrEnum):
    """What becomes of a request in which a guard finds something."""

    OFF = "Off"
    OBSERVE = "Observe"
    REJECT = "Reject"


class Guards(ApiModel):
    """What is looked for in the inputs and answers of predictions.

    `Off`: nothing. `Observe`: findings are counted in the metric `fairlead_replica_guarded_rows_total`. `Reject`: a
    request with a finding is also answered with 422 and the reason. `range`, `size`, `outlier`, `perturbation` and
    `score` need the file `statistics.json` beside the model, which `fairlead package --reference` writes. A replica
    does not start if a guard has nothing to look at, or if its bounds are of so few rows that it may find more than 5 %
    (`Reject`) or 50 % (`Observe`) of the rows like them.
    """

    not_finite: GuardMode = GuardMode.OFF
    """Inputs with NaN or infinities. Default: Off."""
    range: GuardMode = GuardMode.OFF
    """Numbers outside the range of the training data, with a margin of a tenth. Default: Off."""
    size: GuardMode = GuardMode.OFF
    """Texts and free dimensions that are larger than in the training data, with a margin of a tenth. Default: Off."""
    outlier: GuardMode = GuardMode.OFF
    """Rows whose mean or spread is outside of what the training data has, or whose distance from it or share of unknown
    words is above, with a margin of a tenth. Default: Off.
    """
    perturbation: GuardMode = GuardMode.OFF
    """Rows that are rougher than the training data, as images with adversarial noise are, with a margin of a tenth. It
    does not stop an attacker who knows of it. Default: Off.
    """
    impossible_answer: GuardMode = GuardMode.OFF
    """Answers with NaN or infinities, and answers that are no probability distribution although the model gave nothing
    else before the replica was ready. Default: Off.
    """
    score: GuardMode = GuardMode.OFF
    """Answers whose highest class score is below all scores of the evaluation data, or whose number is outside their
    range, with a margin of a tenth. Default: Off.
    """
