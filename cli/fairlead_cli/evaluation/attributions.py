"""Which part of a row decides, on average over the evaluation data: what the attributions of requests compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fairlead_cli.evaluation.labelled_data import Array
from fairlead_runtime.inference import tops
from fairlead_runtime.model.explaining import shares
from fairlead_runtime.model.explaining.shares import NotExplainedError, ShareReader
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, ModelFailedError
from fairlead_runtime.model.reference_statistics import Attributions


def compute(model: LoadedModel, training: Array, rows: Array, order: Sequence[int]) -> Attributions | None:
    """The mean attributions of `rows`, explained in this order; None where they have none.

    Baselines are of the training data. Rows that the model has no finite scores for are left out, as a replica leaves
    them out.
    """
    scores = tops.scores_of(model.signature)
    if scores is None or shares.find_obstacle(model.signature, has_scores=True) is not None:
        return None
    baselines = shares.find_baselines(model.signature.inputs[0], training)
    # The model was just called with several rows at a time, to evaluate it.
    reader = ShareReader(model, scores[0], baselines, shares_calls=True)
    total, explained = np.zeros(len(baselines) + 1), 0
    for row in order:
        try:
            total += reader.read(rows[row : row + 1], lambda: True)
        except (NotExplainedError, InputRefusedError, ModelFailedError):
            continue
        explained += 1
    # Six digits: the last ones depend on the machine, and the same model is to give the same package.
    return Attributions(baselines=baselines, shares=tuple(np.round(total, 6).tolist())) if explained else None
