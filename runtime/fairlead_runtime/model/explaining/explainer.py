"""Explains single scores of a loaded model: chooses the method, and holds each request to its bounds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model.explaining import gradient, integrated_gradients, occlusion
from fairlead_runtime.model.explaining.work import Work
from fairlead_runtime.model.predictor import Array, InputRefusedError, LoadedModel, ModelFailedError
from fairlead_runtime.model.signature import DType, TensorSpec

LOG = logging.getLogger(__name__)
ROWS_MAX = 16
ELEMENTS_MAX = 1_000_000
"""Numbers of all rows together: each becomes a number of the answer."""
TEXT_BYTES_MAX = 64 * 1024
"""Of one row that is a text."""
STEPS_MIN = 8
STEPS_MAX = 256
STEPS_FIRST = 32
"""Steps of integrated gradients where a request names none; they are doubled while the sum is not complete."""


class Method(StrEnum):
    """How attributions are computed; in requests and answers, so these are never renamed."""

    AUTO = "auto"
    """Integrated gradients where the model has a finite gradient, else occlusion."""
    INTEGRATED_GRADIENTS = "integrated_gradients"
    OCCLUSION = "occlusion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be explained. `rows` has passed the codec's checks against the model's one input.

    `target` is the number of a class, or None for each row's highest score. `steps` bounds the work for each row:
    points of integrated gradients, or regions of occlusion.
    """

    rows: Array
    output: str | None = None
    target: int | None = None
    steps: int | None = None
    baseline: float | None = None
    method: Method = Method.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """For each row: attributions of the row's shape, the class, and the scores of the row and of the baseline.

    For texts the attributions are those of `words`, both of shape [rows, words] and filled up to the longest row with 0
    and the empty string. Texts have no baseline.
    """

    method: Method
    output: str
    steps: int
    attributions: Array
    targets: Array
    scores: Array
    baseline_scores: Array | None = None
    words: Array | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """The class of one row, and its score for the row and for the baseline."""

    target: int
    row: float
    baseline: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """What became of one row; the attributions have the shape [1, ...]."""

    method: Method
    steps: int
    attributions: Array
    scores: _Scores
    words: Sequence[bytes] = ()


class Explainer:
    """Explains one model. For one thread, while others call the model."""

    def __init__(self, model: LoadedModel, *, shares_calls: bool) -> None:
        """`shares_calls`: it was proved that the model answers each row by itself (`model/merging.py`)."""
        self._model = model
        self._shares_calls = shares_calls
        self._gradients: dict[int, gradient.Gradient | gradient.CannotDifferentiateError] = {}

    @property
    def input(self) -> TensorSpec:
        """The input that is explained; raises RequestError for a model that can't be explained."""
        specs = self._model.signature.inputs
        if len(specs) != 1:
            raise _refusal(f"explanations need a model with one input; this one has {len(specs)}")
        spec = specs[0]
        if not spec.shape or spec.shape[0] not in (None, 1):
            raise _refusal(f"explanations need an input of shape [rows, ...]; {spec.name!r} has another one")
        if spec.dtype is DType.BOOL:
            raise _refusal(f"explanations need numbers or texts; the input {spec.name!r} holds booleans")
        return spec

    def explain(self, question: Question, is_awaited: Callable[[], bool]) -> Explanation:
        """The explanation of each row by itself.

        Raises:
            RequestError: the request exceeds a bound, names what the model doesn't have, or the model refuses it or
                fails.
            AbandonedError: `is_awaited` became false.
        """
        spec, output = self.input, self._find_output(question.output)
        self._check(spec, question)
        work = Work(is_awaited=is_awaited, shares_calls=self._shares_calls)
        try:
            rows = [
                self._explain_row(question, question.rows[i : i + 1], output, work) for i in range(len(question.rows))
            ]
        except InputRefusedError as error:
            raise _refusal(f"the model does not accept the input, or a changed copy of it: {error}") from None
        except ModelFailedError as error:
            LOG.exception("the model failed in an explanation")
            text = f"the model failed in an explanation ({type(error).__name__})"
            raise RequestError(RequestReason.MODEL_FAILED, text) from error
        if len({row.method for row in rows}) > 1:
            # Attributions of two methods can't be compared, so an answer has those of one.
            return self.explain(replace(question, method=Method.OCCLUSION), is_awaited)
        return _join(rows, self._model.signature.outputs[output].name)

    def _find_output(self, name: str | None) -> int:
        outputs = self._model.signature.outputs
        fitting = [i for i, spec in enumerate(outputs) if _has_scores(spec)]
        listed = ", ".join(repr(outputs[i].name) for i in fitting) or "none"
        if name is None:
            if len(fitting) == 1:
                return fitting[0]
            raise _refusal(f"parameters.output must name an output of scores for each row; the model has {listed}")
        found = [i for i in fitting if outputs[i].name == name]
        if not found:
            text = f"parameters.output: {name[:64]!r} is no output of shape [rows] or [rows, classes]"
            raise _refusal(f"{text}; the model has {listed}")
        return found[0]

    def _check(self, spec: TensorSpec, question: Question) -> None:
        rows = question.rows
        if len(rows) > ROWS_MAX:
            raise _refusal(f"input {spec.name!r}: at most {ROWS_MAX} rows can be explained at once, got {len(rows)}")
        if spec.dtype is DType.STRING:
            _check_texts(spec, question)
            return
        if rows.size > ELEMENTS_MAX:
            raise _refusal(
                f"input {spec.name!r}: at most {ELEMENTS_MAX} numbers can be explained at once, got {rows.size}"
            )
        if spec.dtype.is_float and not np.isfinite(rows).all():
            raise _refusal(f"input {spec.name!r}: NaN and infinities can't be explained")
        if question.baseline is not None:
            _check_baseline(spec, question.baseline)

    def _explain_row(self, question: Question, row: Array, output: int, work: Work) -> _Row:
        scores = self._score_all(row, output)[0].astype(np.float64)
        target = int(np.argmax(scores)) if question.target is None else question.target
        if target >= len(scores):
            name = self._model.signature.outputs[output].name
            text = f"parameters.target: there is no class {target}; the output {name!r} has {len(scores)}, from 0"
            raise _refusal(text)

        def score(rows: Array) -> Array:
            return self._score_all(rows, output)[:, target].astype(np.float64)

        work = replace(work, classes=len(scores))

        whole = float(scores[target])
        if not math.isfinite(whole):
            name = self._model.signature.outputs[output].name
            raise _refusal(f"parameters.output: the score of {name!r} for the input is {whole}, not a finite number")
        if row.dtype == object:
            return _explain_text(row, score, _Scores(target=target, row=whole), work, steps=question.steps or STEPS_MAX)
        baseline = np.full_like(row, question.baseline or 0)
        compared = _Scores(target=target, row=whole, baseline=float(score(baseline)[0]))
        if not math.isfinite(compared.baseline):
            text = f"parameters.baseline: the score of the baseline {question.baseline or 0:g} is {compared.baseline}"
            raise _refusal(f"{text}, not a finite number; choose another baseline")
        if question.method is not Method.OCCLUSION:
            path = integrated_gradients.Path(
                baseline=baseline, row=row, target=target, difference=compared.row - compared.baseline
            )
            try:
                found, steps = self._integrate(path, output, work, question.steps)
                return _Row(method=Method.INTEGRATED_GRADIENTS, steps=steps, attributions=found, scores=compared)
            except (gradient.CannotDifferentiateError, integrated_gradients.NotFiniteError) as error:
                if question.method is Method.INTEGRATED_GRADIENTS:
                    text = f"parameters.method: the model has no integrated gradients: {error}; use occlusion"
                    raise _refusal(text) from None
        regions_max = question.steps or STEPS_MAX
        found = occlusion.attribute(score, row, baseline, work, regions_max=regions_max)
        return _Row(method=Method.OCCLUSION, steps=regions_max, attributions=found, scores=compared)

    def _integrate(
        self, path: integrated_gradients.Path, output: int, work: Work, steps: int | None
    ) -> tuple[Array, int]:
        opened = self._gradient(output)
        if steps is not None:
            return integrated_gradients.attribute(opened, path, work, steps=steps), steps
        return integrated_gradients.attribute_completely(opened, path, work, steps=STEPS_FIRST, most=STEPS_MAX)

    def _gradient(self, output: int) -> gradient.Gradient:
        """Made once for each output, also where there is none."""
        if output not in self._gradients:
            try:
                self._gradients[output] = gradient.open_gradient(self._model.predictor, self._model.signature, output)
            except gradient.CannotDifferentiateError as error:
                self._gradients[output] = error
        found = self._gradients[output]
        if isinstance(found, gradient.CannotDifferentiateError):
            raise found
        return found

    def _score_all(self, rows: Array, output: int) -> Array:
        """All scores, of shape [rows, classes]; raises RequestError where the output has another shape."""
        found = np.asarray(self._model.predictor((rows,))[output])
        if found.ndim not in (1, 2) or len(found) != len(rows) or not found.size:
            name = self._model.signature.outputs[output].name
            text = f"parameters.output: {name!r} has the shape {list(found.shape)} for {len(rows)} rows of input"
            raise _refusal(f"{text}; explanations need [rows] or [rows, classes]")
        return found.reshape(len(found), -1)


def _has_scores(spec: TensorSpec) -> bool:
    """Whether an output may have a score, or one for each class, for each row."""
    if spec.dtype in (DType.STRING, DType.BOOL):
        return False
    return spec.shape is None or (len(spec.shape) in (1, 2) and spec.shape[0] in (None, 1))


def _check_texts(spec: TensorSpec, question: Question) -> None:
    if question.method is Method.INTEGRATED_GRADIENTS:
        raise _refusal(f"parameters.method: the input {spec.name!r} holds texts, which have no gradient; use occlusion")
    if question.baseline is not None:
        raise _refusal("parameters.baseline: a text has none, because its words are left out; leave it out")
    if question.rows[:1].size != 1:
        raise _refusal(f"input {spec.name!r}: a row must be one text to be explained")
    for i, text in enumerate(question.rows.reshape(-1).tolist()):
        if len(text) > TEXT_BYTES_MAX:
            raise _refusal(f"input {spec.name!r}: row {i} has {len(text)} bytes; the most is {TEXT_BYTES_MAX}")
        if not occlusion.words(_decode(text, spec, i)):
            raise _refusal(f"input {spec.name!r}: row {i} has no words to explain")


def _decode(text: bytes, spec: TensorSpec, row: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise _refusal(f"input {spec.name!r}: row {row} is no UTF-8 text, so it has no words to explain") from None


def _check_baseline(spec: TensorSpec, baseline: float) -> None:
    if spec.dtype.is_float:
        limits = np.finfo(spec.dtype.numpy)
        fits = float(limits.min) <= baseline <= float(limits.max)
    else:
        whole = np.iinfo(spec.dtype.numpy)
        fits = float(baseline).is_integer() and whole.min <= baseline <= whole.max
    if not fits:
        raise _refusal(f"parameters.baseline: {baseline:g} is no value of {spec.dtype.value}, which the input holds")


def _explain_text(row: Array, score: occlusion.Score, scores: _Scores, work: Work, *, steps: int) -> _Row:
    text = row.reshape(-1)[0].decode()
    found = occlusion.attribute_words(score, text, work, shape=row.shape, regions_max=steps)
    return _Row(
        method=Method.OCCLUSION,
        steps=steps,
        attributions=found[np.newaxis],
        scores=scores,
        words=[text[start:end].encode() for start, end in occlusion.words(text)],
    )


def _join(rows: Sequence[_Row], output: str) -> Explanation:
    """Raises RequestError for attributions that are not finite as float32."""
    words: Array | None = None
    attributions = [row.attributions for row in rows]
    if rows[0].words:
        longest = max(len(row.words) for row in rows)
        words = np.full((len(rows), longest), b"", dtype=object)
        for i, row in enumerate(rows):
            words[i, : len(row.words)] = row.words
        attributions = [np.pad(each, ((0, 0), (0, longest - each.shape[1]))) for each in attributions]
    with np.errstate(over="ignore"):
        joined = np.concatenate(attributions).astype(np.float32)
    if not np.isfinite(joined).all():
        text = f"parameters.output: the scores of {output!r} between the input and its baseline, or without a part of"
        raise _refusal(f"{text} the input, are not finite or too large for attributions of float32")
    return Explanation(
        method=rows[0].method,
        output=output,
        steps=max(row.steps for row in rows),
        attributions=joined,
        targets=np.asarray([row.scores.target for row in rows], dtype=np.int64),
        scores=np.asarray([row.scores.row for row in rows]),
        baseline_scores=None if words is not None else np.asarray([row.scores.baseline for row in rows]),
        words=words,
    )


def _refusal(sentence: str) -> RequestError:
    return RequestError(RequestReason.INVALID_INPUT, sentence)
