"""A model that fails by itself: the caller learns the kind, the replica's log the cause."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.replica_parts import FixedCosts

from fairlead_runtime.errors import RequestError
from fairlead_runtime.inference.batching import Runner, Sharing
from fairlead_runtime.model.predictor import ModelFailedError, Tensors


def test_the_error_of_a_failed_model_is_logged_and_not_sent_to_the_client(caplog: pytest.LogCaptureFixture) -> None:
    def predictor(_: Tensors) -> Tensors:
        raise ModelFailedError("no memory for /models/secret")

    runner = Runner(predictor, sharing=Sharing(is_proved=True), costs=FixedCosts(0.0), observe_rows=lambda _rows: None)
    with pytest.raises(RequestError) as refused:
        runner.run_one((np.zeros((1, 2), np.float32),))
    assert refused.value.sentence == "the model failed (ModelFailedError)"
    assert "no memory for /models/secret" in caplog.text
