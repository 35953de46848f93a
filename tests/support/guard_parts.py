"""Guards of a model that was trained on known rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tests.support import replica_parts

from fairlead_cli.evaluation import guard_bounds, reference_statistics
from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime.config import GuardMode
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import guard_checks
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.model.answer_kinds import AnswerKinds
from fairlead_runtime.model.evaluation_record import Outcome
from fairlead_runtime.model.reference_statistics import Found, NumberFeature, ReferenceStatistics
from fairlead_runtime.model.signature import Signature

Array = np.ndarray[Any, Any]


def found(signature: Signature, training: Sequence[Array], answers: Counts | None = None) -> Found:
    """What a replica finds beside a model that was packaged with these training rows."""
    order = reference_statistics.random_order(len(training[0]))
    vocabularies, _ = reference_statistics.bin_rows(signature, training)
    statistics = ReferenceStatistics(
        model_digest="sha256:" + "0" * 64,
        signature=signature.name,
        features=(NumberFeature(name="score", edges=(0.5,), counts=(1, 1, 0)),),
        vocabularies=vocabularies,
        guards=guard_bounds.compute(signature, training, order, answers, vocabularies),
    )
    # As a replica reads it: what can't be written in the file is found here.
    read = ReferenceStatistics.model_validate_json(statistics.model_dump_json(by_alias=True))
    return Found(outcome=Outcome.READ, statistics=read)


def build(
    modes: Mapping[Guard, GuardMode],
    *,
    signature: Signature | None = None,
    training: Sequence[Array] | None = None,
    answers: Counts | None = None,
    kinds: AnswerKinds | None = None,
) -> Guards:
    """Guards of these modes; without training rows those that need none."""
    chosen = signature or replica_parts.float_signature()
    nothing = Found(outcome=Outcome.ABSENT, message="there is no file statistics.json beside the model")
    reference = nothing if training is None else found(chosen, training, answers)
    return guard_checks.build(modes, chosen, reference, kinds or AnswerKinds())
