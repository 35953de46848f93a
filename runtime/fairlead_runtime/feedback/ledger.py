"""Counts true labels for the revisions that predicted: each token once, as far back as a bounded window remembers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairlead_runtime.analysis_counters import AnalysisCounters
from fairlead_runtime.feedback.tokens import Signer, Token
from fairlead_runtime.inference.tops import Kind

WINDOW_TOKENS = 100_000
"""How many counted tokens a replica remembers; one that comes again after so many others counts again."""

ABSOLUTE_TOLERANCE = 1e-3
RELATIVE_TOLERANCE = 1e-2
THRESHOLD = 0.5

Label = int | float | bool | None


class LabelError(Exception):
    """A label doesn't fit its token; the text says what would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one token: `labelled` rows were counted, none where it had been counted before."""

    labelled: int
    correct: int
    is_repeated: bool


class Window:
    """The last tokens by nonce. A dictionary keeps the order in which they came."""

    def __init__(self, size: int = WINDOW_TOKENS) -> None:
        self._size = size
        self._nonces: dict[int, None] = {}

    def __contains__(self, nonce: int) -> bool:
        return nonce in self._nonces

    def __len__(self) -> int:
        return len(self._nonces)

    def add(self, nonce: int) -> None:
        if len(self._nonces) >= self._size:
            del self._nonces[next(iter(self._nonces))]
        self._nonces[nonce] = None


class Ledger:
    """Takes labels for the tokens of one model. Lives on the server's loop."""

    def __init__(self, signer: Signer, measured: AnalysisCounters, now_s: Callable[[], float]) -> None:
        self._signer = signer
        self._measured = measured
        self._now_s = now_s
        self._window = Window()

    def take(self, text: str, label: object, tolerance: object = None) -> Outcome:
        """Count a token's label or labels. Raises TokenError and LabelError; then nothing was counted."""
        token = self._signer.read(text, self._now_s())
        labels = _labels(token, label)
        allowed = _tolerance(token, tolerance)
        if token.nonce in self._window:
            return Outcome(labelled=0, correct=0, is_repeated=True)
        judged = [
            _is_right(token.kind, value, each, allowed)
            for value, each in zip(token.values, labels, strict=False)
            if each is not None
        ]
        self._window.add(token.nonce)
        counted = self._measured.labels(token.revision)
        counted.labelled += len(judged)
        counted.correct += sum(judged)
        return Outcome(labelled=len(judged), correct=sum(judged), is_repeated=False)


def _labels(token: Token, given: object) -> Sequence[Label]:
    items: list[object] = given if isinstance(given, list) else [given]
    if len(items) > len(token.values):
        raise LabelError(f"label: the token is for {len(token.values)} predictions, but {len(items)} labels were sent")
    labels = [_check_label(token.kind, item) for item in items]
    if all(label is None for label in labels):
        raise LabelError("label: is missing; send the true class or number")
    return labels


def _check_label(kind: Kind, label: object) -> Label:
    if label is None:
        return None
    if kind is Kind.CLASS:
        if type(label) is int and label >= 0:
            return label
        raise LabelError("label: must be the index of the true class, a whole number from 0")
    if isinstance(label, int | float) and math.isfinite(label):
        return label
    raise LabelError("label: must be the true number, or true or false for a model that gives a probability")


def _tolerance(token: Token, given: object) -> float | None:
    if given is None:
        return None
    if token.kind is Kind.CLASS:
        raise LabelError("tolerance: only a model with one numeric output takes a tolerance")
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given) or given < 0:
        raise LabelError("tolerance: must be a number, 0 or more")
    return float(given)


def _is_right(kind: Kind, value: float, label: Label, tolerance: float | None) -> bool:
    if label is None or math.isnan(value):
        return False
    if isinstance(label, bool):
        return (value >= THRESHOLD) == label
    if kind is Kind.CLASS:
        return value == label
    allowed = ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * abs(label) if tolerance is None else tolerance
    return abs(value - label) <= allowed
