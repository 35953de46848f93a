"""Guards find what is unlike the training data, say what and where, and pass what is like it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import guard_parts, nightly

from fairlead_cli.evaluation.scoring import Counts
from fairlead_runtime.config import GuardMode
from fairlead_runtime.errors import LoadError, LoadReason, RequestError, RequestReason
from fairlead_runtime.guard_counters import Guard
from fairlead_runtime.inference import guard_checks, guarding, tops
from fairlead_runtime.inference.guarding import Guards
from fairlead_runtime.model import answer_kinds
from fairlead_runtime.model.answer_kinds import AnswerKinds
from fairlead_runtime.model.evaluation_record import Outcome
from fairlead_runtime.model.predictor import InputRefusedError, LoadedModel, Tensors
from fairlead_runtime.model.reference_statistics import Found
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

Array = np.ndarray[Any, Any]
WIDTH = 60
REJECT = GuardMode.REJECT


def signature(*shape: int | None, dtype: DType = DType.FLOAT32, classes: tuple[int, ...] = (3,)) -> Signature:
    return Signature(
        name="serving_default",
        method="predict",
        inputs=(TensorSpec(name="x", dtype=dtype, shape=(None, *shape)),),
        outputs=(TensorSpec(name="p", dtype=DType.FLOAT32, shape=(None, *classes)),),
    )


def waves(rows: int, *, seed: int = 1, width: int = WIDTH) -> Array:
    """Smooth rows: two waves of random sizes."""
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 2 * np.pi, width)
    sizes = rng.uniform(0.2, 1, (rows, 2))
    return (sizes[:, :1] * np.sin(at) + sizes[:, 1:] * np.cos(2 * at)).astype(np.float32)


def table(rows: int, *, seed: int = 1) -> Array:
    """Three columns of different units, the last one almost the sum of the others' shares."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 1, rows), rng.normal(500, 100, rows)
    return np.stack([first, second, first + second / 100 + rng.normal(0, 0.01, rows)], axis=1).astype(np.float32)


def texts(*made: str) -> Array:
    return np.array([text.encode() for text in made], dtype=object)


TEXTS = texts(*[f"a {kind} film with {what}" for kind in ("good", "bad", "long") for what in ("jokes", "songs")] * 80)


def judge(guards: Guards, rows: Array) -> guarding.Found:
    (verdict,) = guards.judge_inputs((rows,))
    return verdict.found


def changed(rows: Array, at: tuple[int, ...], value: float) -> Array:
    found = rows.copy()
    found[at] = value
    return found


def stretched(rows: Array) -> Array:
    """Rows with the same means."""
    means = rows.mean(axis=1, keepdims=True)
    return (means + 3 * (rows - means)).astype(np.float32)


def noisy(rows: Array) -> Array:
    return (rows + 0.1 * np.sign(np.random.default_rng(3).normal(size=rows.shape))).astype(np.float32)


WAVES, TABLE = signature(WIDTH), signature(3)


@pytest.mark.parametrize(
    ("guard", "made", "training", "rows", "expected"),
    [
        pytest.param(
            Guard.NOT_FINITE,
            WAVES,
            waves(1200),
            changed(waves(3), (1, 5), np.inf),
            "input 'x': row 1 has a number that is not finite",
            id="an infinity",
        ),
        pytest.param(
            Guard.RANGE, WAVES, waves(1200), changed(waves(3), (1, 5), 2.9), "row 1: its element 5 is 2.9,", id="range"
        ),
        pytest.param(
            Guard.RANGE, WAVES, waves(1200), changed(waves(3), (1, 5), np.nan), "its element 5 is nan,", id="NaN"
        ),
        pytest.param(
            Guard.RANGE, TABLE, table(1200), changed(table(3), (1, 1), -7.0), "row 1: its element 1 is -7,", id="column"
        ),
        pytest.param(Guard.OUTLIER, WAVES, waves(1200), changed(waves(3), (1,), 0.9), "its mean is 0.9,", id="mean"),
        pytest.param(
            Guard.OUTLIER,
            WAVES,
            waves(1200),
            stretched(waves(3)),
            "row 0: its standard deviation is",
            id="spread",
        ),
        pytest.param(
            Guard.OUTLIER, TABLE, table(1200), changed(table(3), (1, 2), 8.5), "row 1: its distance is", id="distance"
        ),
        pytest.param(Guard.PERTURBATION, WAVES, waves(1200), noisy(waves(3)), "row 0: its roughness is", id="noise"),
        pytest.param(
            Guard.OUTLIER,
            signature(dtype=DType.STRING),
            TEXTS,
            texts("a bad film with songs", "buy cheap watches today"),
            "row 1: its share of unknown words is 1,",
            id="unknown words",
        ),
        pytest.param(
            Guard.SIZE,
            signature(dtype=DType.STRING),
            TEXTS,
            texts("a bad film with songs", "a bad film " * 20),
            "row 1 has a text of 220 bytes, more than",
            id="a long text",
        ),
        pytest.param(
            Guard.SIZE,
            signature(None),
            waves(1200),
            waves(3, width=100),
            "dimension 1 has the size 100, more than 66",
            id="a long row",
        ),
        pytest.param(
            Guard.RANGE,
            signature(20, dtype=DType.INT32),
            np.arange(8000).reshape(400, 20),
            np.full((2, 20), 2**31 - 1, np.int32),
            "row 0: its element 0 is 2.14748e+09,",
            id="a token id",
        ),
    ],
)
def test_a_guard_finds_the_row_that_is_wrong_and_says_what_the_bound_is(
    guard: Guard, made: Signature, training: Array, rows: Array, expected: str
) -> None:
    guards = guard_parts.build({guard: REJECT}, signature=made, training=[training])
    assert judge(guards, training[:50]) == guarding.Found(50), "rows of the training data are passed"
    found = judge(guards, rows)
    assert expected in found.sentence
    assert found.sentence.startswith("input 'x'")
    assert 1 <= found.wrong <= found.rows == len(rows)
    with pytest.raises(RequestError) as refused:
        guards.settle(guards.judge_inputs((rows,)))
    assert refused.value.reason is RequestReason.GUARDED
    assert refused.value.sentence.endswith(f"(guard {guard.value})")


def test_observed_rows_are_counted_and_pass() -> None:
    guards = guard_parts.build(
        {Guard.RANGE: GuardMode.OBSERVE, Guard.NOT_FINITE: REJECT}, signature=WAVES, training=[waves(1200)]
    )
    guards.settle(guards.judge_inputs((changed(waves(4), (2, 0), 9),)))
    with pytest.raises(RequestError, match="not finite"):
        guards.settle(guards.judge_inputs((changed(waves(4), (2, 0), np.nan),)))
    rows = guards.rows
    assert (rows[Guard.RANGE].passed, rows[Guard.RANGE].observed, rows[Guard.RANGE].rejected) == (6, 2, 0)
    assert (rows[Guard.NOT_FINITE].passed, rows[Guard.NOT_FINITE].rejected) == (7, 1)


def test_missing_numbers_pass_where_the_training_data_has_some_and_hide_nothing() -> None:
    training = table(1200)
    training[::5, 0] = np.nan
    modes = {Guard.RANGE: REJECT, Guard.OUTLIER: REJECT}
    guards = guard_parts.build(modes, signature=TABLE, training=[training])
    missing = changed(table(3), (1, 0), np.nan)
    assert [each.found.wrong for each in guards.judge_inputs((missing,))] == [0, 0]
    far = changed(changed(table(3), (1, 0), np.nan), (1, 2), 40.0)
    assert [each.found.wrong for each in guards.judge_inputs((far,))] == [1, 1]


def answers(scores: list[float]) -> Counts:
    return Counts(kind=tops.Kind.CLASS, labels=[0] * len(scores), predicted=[0] * len(scores), scores=scores)


@pytest.mark.parametrize(
    ("guard", "outputs", "expected"),
    [
        (
            Guard.IMPOSSIBLE_ANSWER,
            [[0.2, 0.3, 0.5], [0.2, 0, 0.9]],
            "its least number is 0 and the sum 1.1",
        ),
        (Guard.IMPOSSIBLE_ANSWER, [[0.2, 0.3, 0.5], [-0.2, 0.7, 0.5]], "its least number is -0.2 and the sum 1"),
        (Guard.IMPOSSIBLE_ANSWER, [[0.2, 0.3, 0.5], [np.nan, 0.7, 0.3]], "row 1 is no distribution"),
        (Guard.SCORE, [[0.1, 0.1, 0.8], [0.4, 0.3, 0.3]], "row 1: its highest score is 0.4, below 0.56"),
    ],
)
def test_an_answer_that_can_not_be_is_found(guard: Guard, outputs: list[list[float]], expected: str) -> None:
    guards = guard_parts.build(
        {guard: REJECT},
        signature=WAVES,
        training=[waves(1200)],
        answers=answers([0.6, 0.9, 1.0, 1.0] * 100),
        kinds=AnswerKinds(finite=frozenset({0}), distributions=frozenset({0})),
    )
    (verdict,) = guards.judge_answers((np.array(outputs, np.float32),))
    assert verdict.found.wrong == 1
    assert expected in verdict.found.sentence
    assert verdict.found.sentence.startswith("the answer's output 'p'")


def test_numbers_as_answers_have_bounds_at_both_ends() -> None:
    made = signature(WIDTH, classes=(1,))
    counts = Counts(kind=tops.Kind.NUMBER, labels=[0] * 400, predicted=[10, 20] * 200, scores=[10.0, 20.0] * 200)
    guards = guard_parts.build({Guard.SCORE: REJECT}, signature=made, training=[waves(1200)], answers=counts)
    (verdict,) = guards.judge_answers((np.array([[15], [8], [22], [np.nan]], np.float32),))
    assert verdict.found.wrong == 3
    assert "row 1: its number is 8, outside 9 to 21" in verdict.found.sentence


@pytest.mark.parametrize(
    ("guard", "made", "training", "expected"),
    [
        (Guard.RANGE, WAVES, None, "spec.serving.guards.range needs the training data's bounds, but there is no file"),
        (Guard.SCORE, WAVES, waves(50), "spec.serving.guards.score has nothing to look at: the answers have no scores"),
        (Guard.PERTURBATION, TABLE, table(50), "spec.serving.guards.perturbation has nothing to look at"),
        (Guard.NOT_FINITE, signature(4, dtype=DType.INT32), None, "spec.serving.guards.notFinite has nothing to look"),
        (Guard.IMPOSSIBLE_ANSWER, WAVES, None, "spec.serving.guards.impossibleAnswer has nothing to look at"),
        (Guard.SIZE, WAVES, waves(50), "spec.serving.guards.size has nothing to look at: no input has texts"),
    ],
)
def test_a_guard_that_could_never_find_anything_is_refused(
    guard: Guard, made: Signature, training: Array | None, expected: str
) -> None:
    given_rows = None if training is None else [training]
    with pytest.raises(LoadError) as refused:
        guard_parts.build({guard: GuardMode.OBSERVE}, signature=made, training=given_rows)
    assert refused.value.reason is LoadReason.GUARD_UNUSABLE
    assert refused.value.sentence.startswith(expected)


@pytest.mark.parametrize(
    ("guard", "mode", "made", "training", "expected"),
    [
        (
            Guard.OUTLIER,
            REJECT,
            WAVES,
            waves(300),
            "outlier is Reject, but its bounds are of 150 rows and may find 11% of the rows like them; "
            "5% at most needs bounds of 349 rows: package with more data, or set Observe or Off",
        ),
        (Guard.RANGE, REJECT, TABLE, table(300), "range is Reject, but its bounds are of 300 rows and may find 6%"),
        (
            Guard.RANGE,
            GuardMode.OBSERVE,
            WAVES,
            waves(10),
            "is Observe, but its bounds are of 10 rows and may find 71%",
        ),
        (Guard.OUTLIER, GuardMode.OBSERVE, WAVES, waves(20), "is Observe, but its bounds are of 10 rows and may find"),
        (
            Guard.SIZE,
            REJECT,
            signature(dtype=DType.STRING),
            TEXTS[:100],
            "size is Reject, but its bounds are of 100 rows",
        ),
    ],
)
def test_bounds_of_few_rows_are_refused_where_they_promise_too_little(
    guard: Guard, mode: GuardMode, made: Signature, training: Array, expected: str
) -> None:
    with pytest.raises(LoadError) as refused:
        guard_parts.build({guard: mode}, signature=made, training=[training])
    assert refused.value.reason is LoadReason.GUARD_UNUSABLE
    assert expected in refused.value.sentence


def test_few_scores_are_refused_as_well() -> None:
    with pytest.raises(LoadError, match="score is Reject, but its bounds are of 100 rows and may find 9%"):
        guard_parts.build(
            {Guard.SCORE: REJECT}, signature=WAVES, training=[waves(300)], answers=answers([0.5, 0.9] * 50)
        )


def test_bounds_without_their_number_of_rows_are_refused() -> None:
    reference = guard_parts.found(WAVES, [waves(1200)])
    assert reference.statistics is not None
    assert reference.statistics.guards is not None
    (old,) = reference.statistics.guards.inputs
    guards = reference.statistics.guards.model_copy(update={"inputs": (old.model_copy(update={"rows": 0}),)})
    written = reference.statistics.model_copy(update={"guards": guards})
    with pytest.raises(LoadError, match="range needs to know of how many rows its bounds are"):
        guard_checks.build({Guard.RANGE: REJECT}, WAVES, Found(outcome=Outcome.READ, statistics=written), AnswerKinds())


def test_rows_with_an_infinity_count_for_the_bounds_promise() -> None:
    training = table(1200)
    training[:30, 1] = np.inf
    clean = guard_parts.build({Guard.RANGE: GuardMode.OBSERVE}, signature=TABLE, training=[table(1200)])
    with_some = guard_parts.build({Guard.RANGE: GuardMode.OBSERVE}, signature=TABLE, training=[training])
    tolerated = [each.rows[Guard.RANGE].tolerated_share for each in (clean, with_some)]
    assert tolerated[0] < 0.03 < tolerated[1]


@pytest.mark.parametrize("rows", [60, 120])
def test_small_training_sets_find_no_more_of_rows_like_them_than_they_say(rows: int) -> None:
    """Of 10 training sets each, with the guards that at most half of the rows are promised for."""
    for seed in range(10):
        guards = guard_parts.build(
            {Guard.RANGE: GuardMode.OBSERVE, Guard.OUTLIER: GuardMode.OBSERVE, Guard.PERTURBATION: GuardMode.OBSERVE},
            signature=WAVES,
            training=[waves(rows, seed=100 + seed)],
        )
        for verdict in guards.judge_inputs((waves(2000, seed=7),)):
            share = verdict.found.wrong / verdict.found.rows
            assert share <= guards.rows[verdict.guard].tolerated_share, verdict.guard


def test_smooth_rows_are_no_perturbation_and_known_words_no_outlier() -> None:
    """A row is measured against the roughest, the farthest and the least known; the other end says nothing."""
    flat = np.zeros((1, WIDTH), np.float32)
    guards = guard_parts.build({Guard.PERTURBATION: REJECT}, signature=WAVES, training=[waves(1200)])
    assert judge(guards, flat).wrong == 0
    rng = np.random.default_rng(5)
    made = texts(*[f"a good film with {rng.integers(10**9)}" for _ in range(480)])
    of_texts = guard_parts.build({Guard.OUTLIER: REJECT}, signature=signature(dtype=DType.STRING), training=[made])
    assert judge(of_texts, texts("a good film")).wrong == 0


def test_a_padded_request_has_one_row_that_is_too_long() -> None:
    guards = guard_parts.build({Guard.SIZE: REJECT}, signature=signature(None), training=[waves(400)])
    assert judge(guards, waves(32, width=100)).wrong == 1


def loaded(model: Any, made: Signature = WAVES) -> LoadedModel:
    return LoadedModel(signature=made, predictor=model, kind="stand-in")


def softmax(inputs: Tensors) -> Tensors:
    scores = np.exp(np.clip(inputs[0][:, :3], -50, 50))
    return ((scores / scores.sum(axis=1, keepdims=True)).astype(np.float32),)


def test_what_answers_always_are_is_found_by_trials() -> None:
    def raw(inputs: Tensors) -> Tensors:
        return (inputs[0][:, :3],)

    def broken(inputs: Tensors) -> Tensors:
        return (np.log(inputs[0][:, :3]),)

    def refusing(inputs: Tensors) -> Tensors:
        raise InputRefusedError("no")

    with np.errstate(all="ignore"):
        found = [answer_kinds.try_out(loaded(model), None) for model in (softmax, raw, broken, refusing)]
    zero = frozenset({0})
    assert found[0] == AnswerKinds(finite=zero, distributions=zero)
    assert found[1] == AnswerKinds(finite=zero)
    assert found[2:] == [AnswerKinds(), AnswerKinds()]


EVERY = dict.fromkeys(
    (Guard.NOT_FINITE, Guard.RANGE, Guard.OUTLIER, Guard.PERTURBATION, Guard.SCORE, Guard.IMPOSSIBLE_ANSWER),
    GuardMode.OBSERVE,
)


ALL = guard_parts.build(
    EVERY,
    signature=signature(16, classes=(16,)),
    training=[waves(1200, width=16)],
    answers=answers([0.5, 0.9] * 200),
    kinds=AnswerKinds(finite=frozenset({0}), distributions=frozenset({0})),
)
OF_TEXTS = guard_parts.build(
    {Guard.SIZE: GuardMode.OBSERVE, Guard.OUTLIER: GuardMode.OBSERVE},
    signature=signature(dtype=DType.STRING),
    training=[TEXTS],
)


@settings(max_examples=nightly.examples(150), deadline=None)
@given(st.lists(st.lists(st.floats(width=32), min_size=16, max_size=16), min_size=1, max_size=3))
def test_no_numbers_make_a_guard_fail(rows: list[list[float]]) -> None:
    array = np.array(rows, np.float32)
    verdicts = {each.guard: each.found for each in (*ALL.judge_inputs((array,)), *ALL.judge_answers((array,)))}
    assert all(0 <= each.wrong <= each.rows == len(rows) for each in verdicts.values())
    assert verdicts[Guard.NOT_FINITE].wrong == int((~np.isfinite(array)).any(axis=1).sum())
    assert verdicts[Guard.RANGE].wrong >= verdicts[Guard.NOT_FINITE].wrong, "what is no number is in no range"
    assert verdicts[Guard.OUTLIER].wrong >= verdicts[Guard.NOT_FINITE].wrong


@settings(max_examples=nightly.examples(60), deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=300))
def test_no_texts_make_a_guard_fail(rows: list[bytes]) -> None:
    array = np.empty(len(rows), object)
    array[:] = rows
    size, outlier = (each.found for each in OF_TEXTS.judge_inputs((array,)))
    assert size.wrong == sum(len(row) > 25 for row in rows)
    assert outlier.rows <= 256, "of many texts some are read"


def test_training_data_of_any_kind_gives_bounds_or_none() -> None:
    same = np.ones((1200, WIDTH), np.float32)
    with_nothing = np.full((40, 3), np.nan, np.float32)
    huge = np.full((40, 3), 3e38, np.float32)
    huge[::2] *= -1
    for made, rows in ((WAVES, same), (TABLE, with_nothing), (TABLE, huge), (WAVES, waves(1)), (WAVES, waves(2))):
        reference = guard_parts.found(made, [rows])
        assert reference.statistics is not None
        assert reference.statistics.guards is not None
    passes = guard_parts.build({Guard.RANGE: REJECT, Guard.OUTLIER: REJECT}, signature=WAVES, training=[same])
    passes.settle(passes.judge_inputs((same[:2],)))
    with pytest.raises(RequestError):
        passes.settle(passes.judge_inputs((same[:2] * 1.1,)))


def test_the_roughness_of_an_image_is_that_of_its_lines() -> None:
    """An image whose channels differ is smooth, and so is one whose lines begin far from where the others end."""
    rng = np.random.default_rng(0)
    base = np.linspace(0, 1, 8)[None, None, :, None] + rng.uniform(0, 0.2, (400, 1, 1, 1))
    images = (np.array([0.0, 5.0, -5.0]) + base.repeat(8, axis=1)).astype(np.float32)
    guards = guard_parts.build({Guard.PERTURBATION: REJECT}, signature=signature(8, 8, 3), training=[images])
    assert judge(guards, images[:9]).wrong == 0
    assert judge(guards, noisy(images[:9])).wrong == 9
    grey = images[..., :1]
    guards = guard_parts.build({Guard.PERTURBATION: REJECT}, signature=signature(8, 8, 1), training=[grey])
    assert (judge(guards, grey[:9]).wrong, judge(guards, noisy(grey[:9])).wrong) == (0, 9)
