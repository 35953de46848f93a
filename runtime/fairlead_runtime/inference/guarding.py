"""Guards: what is looked for in the inputs and answers of each prediction, and what becomes of a request that has it.

Each request is judged by itself, before and after its rows share a call with those of others. Judging counts nothing,
so that it may run on any thread; `settle` counts, on the server's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairlead_runtime.config import GuardMode
from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.guard_counters import Guard, Rows
from fairlead_runtime.model.predictor import Tensors

Array = np.ndarray[Any, Any]


OF_ANSWERS = frozenset({Guard.IMPOSSIBLE_ANSWER, Guard.SCORE})


@dataclass(frozen=True, slots=True)
class Found:
    """How many of the rows that a check read are wrong, and one sentence on the first; empty where none is."""

    rows: int
    wrong: int = 0
    sentence: str = ""


Check = Callable[[Tensors], Found]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one guard found in one request."""

    guard: Guard
    found: Found


class Guards:
    """The guards that are not off, in the order of `Guard`, and their counters.

    `tolerated` is the share of rows that each finds, at most, where requests are like the training data.
    """

    def __init__(
        self,
        modes: Mapping[Guard, GuardMode],
        checks: Mapping[Guard, Sequence[Check]],
        tolerated: Mapping[Guard, float],
    ) -> None:
        self._modes = {guard: modes[guard] for guard in Guard if guard in checks}
        self._of_inputs = tuple((guard, checks[guard]) for guard in self._modes if guard not in OF_ANSWERS)
        self._of_answers = tuple((guard, checks[guard]) for guard in self._modes if guard in OF_ANSWERS)
        self.rows: Mapping[Guard, Rows] = {guard: Rows(tolerated[guard]) for guard in self._modes}

    @property
    def look_at_inputs(self) -> bool:
        """Whether one of them is of inputs."""
        return bool(self._of_inputs)

    def judge_inputs(self, inputs: Tensors) -> tuple[Verdict, ...]:
        """What the guards of inputs find; `inputs` have the shapes of the signature."""
        return _judge(self._of_inputs, inputs)

    def judge_answers(self, outputs: Tensors) -> tuple[Verdict, ...]:
        """What the guards of answers find."""
        return _judge(self._of_answers, outputs)

    def settle(self, verdicts: Sequence[Verdict]) -> None:
        """Count what was found; raises RequestError (Guarded) where a guard rejects it."""
        refusal: str | None = None
        for verdict in verdicts:
            guard, found = verdict.guard, verdict.found
            rows = self.rows[guard]
            rows.passed += found.rows - found.wrong
            if not found.wrong:
                continue
            if self._modes[guard] is GuardMode.REJECT:
                rows.rejected += found.wrong
                refusal = refusal or f"{found.sentence} (guard {guard.value})"
            else:
                rows.observed += found.wrong
        if refusal is not None:
            raise RequestError(RequestReason.GUARDED, refusal)


def _judge(guards: Sequence[tuple[Guard, Sequence[Check]]], tensors: Tensors) -> tuple[Verdict, ...]:
    if not guards:
        return ()
    with np.errstate(all="ignore"):
        return tuple(Verdict(guard, _worst([check(tensors) for check in checks])) for guard, checks in guards)


def _worst(found: Sequence[Found]) -> Found:
    """Rows and wrong rows are those of the check with the most, as a row is one whatever is wrong with it."""
    if len(found) == 1:
        return found[0]
    worst = max(found, key=lambda each: each.wrong)
    return Found(max(each.rows for each in found), worst.wrong, worst.sentence)
