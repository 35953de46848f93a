from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.api.text import LINE_MAX_BYTES, one_line
from fairlead_operator.plan import failure
from fairlead_operator.state.reasons import Reason

TRACEBACK = """Failed to start replica: Traceback (most recent call last):
  File "replica.py", line 3, in load
\x1b[36mray.exceptions.RayTaskError\x1b[39m: ValueError: no such thing
"""


@pytest.mark.parametrize(
    ("message", "reason", "words"),
    [
        pytest.param("x\nfairlead: DigestMismatch: it is not that\ny", "DigestMismatch", "it is not that", id="ours"),
        pytest.param(
            "RuntimeError: fairlead: ModelNotFound: 404 for it", "ModelNotFound", "404 for it", id="ours within a line"
        ),
        pytest.param(
            "fairlead: A1: first\nfairlead: B2: second", "B2", "second", id="the last one, as Ray tries several times"
        ),
        pytest.param(
            TRACEBACK, Reason.DEPLOY_FAILED, "ray.exceptions.RayTaskError: ValueError: no such thing", id="traceback"
        ),
        pytest.param("", Reason.DEPLOY_FAILED, "Ray gave no message.", id="nothing"),
        pytest.param(
            "The deployment failed to start 3 times in a row. See controller logs. Error:\nActorDiedError()",
            "DeployFailed",
            "The replica process was killed while it started. The usual cause is too little memory: check "
            "spec.serving.resources.memory and the memory of the worker pods (Ray: ActorDiedError).",
            id="a process that was killed",
        ),
    ],
)
def test_the_loaders_own_words_are_found(message: str, reason: str, words: str) -> None:
    assert failure.read_failure(message) == failure.Failure(reason=reason, message=words)


@given(text=st.text(max_size=3000))
def test_words_are_one_bounded_line_without_control_characters(text: str) -> None:
    words = one_line(text)
    assert len(words.encode()) <= LINE_MAX_BYTES
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in words)
