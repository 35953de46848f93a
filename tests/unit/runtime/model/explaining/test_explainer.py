"""Explanations of real models of TensorFlow: which method, completeness, and what is refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead_runtime.errors import RequestError, RequestReason
from fairlead_runtime.model import loader, tensorflow_import
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.explaining.explainer import ROWS_MAX, Explainer, Explanation, Method, Question
from fairlead_runtime.model.explaining.integrated_gradients import RESIDUAL_MAX
from fairlead_runtime.model.explaining.work import ELEMENTS_PER_CALL, AbandonedError
from fairlead_runtime.model.predictor import Array, InputRefusedError, LoadedModel, ModelFailedError
from fairlead_runtime.model.predictor_frozen import FrozenPredictor
from fairlead_runtime.model.signature import DType, Signature, TensorSpec

BOUNDS = Bounds(bytes_max=100_000_000)
pytestmark = pytest.mark.filterwarnings("ignore")


def load(root: Path, name: str, signature: str | None = None) -> LoadedModel:
    return loader.load(root / name, None, signature, BOUNDS, threads=1)


def explain(model: LoadedModel, rows: Array, *, shares_calls: bool = True, **question: object) -> Explanation:
    asked = Question(rows=rows, **question)  # type: ignore[arg-type]
    return Explainer(model, shares_calls=shares_calls).explain(asked, lambda: True)


def sums(found: Explanation) -> Array:
    return found.attributions.astype(np.float64).reshape(len(found.attributions), -1).sum(axis=1)


@pytest.mark.parametrize(
    ("name", "signature", "shape"),
    [
        pytest.param("dense", None, (4,), id="a frozen graph"),
        pytest.param("dense", "total", (4,), id="an output without classes"),
        pytest.param("cnn", None, (8, 8, 1), id="a network of convolutions"),
        pytest.param("dense.keras", None, (4,), id="a file of Keras"),
        pytest.param("counter", None, (4,), id="a function with state"),
        pytest.param("any-size", None, (12, 9, 1), id="images of any size"),
        pytest.param("normalized", None, (4,), id="a layer that normalises"),
    ],
)
def test_integrated_gradients_of_a_model_are_complete(models, name: str, signature: str | None, shape) -> None:
    rows = np.random.default_rng(3).random((3, *shape), dtype=np.float32)
    model = load(models.root, name, signature)
    found = explain(model, rows, shares_calls=name != "counter", **({"target": 1} if name == "counter" else {}))
    assert found.method is Method.INTEGRATED_GRADIENTS
    assert found.attributions.shape == rows.shape
    assert found.baseline_scores is not None
    difference = found.scores - found.baseline_scores
    if name == "counter":
        # Its score grows with each call, so only the input's own part is known.
        np.testing.assert_allclose(sums(found), rows[:, 1], rtol=1e-5)
        return
    np.testing.assert_array_less(np.abs(sums(found) - difference), RESIDUAL_MAX * np.abs(difference) + 2e-6)
    answers = np.asarray(model.predictor((rows,))[0]).reshape(3, -1)
    np.testing.assert_array_equal(found.targets, answers.argmax(axis=1))
    np.testing.assert_allclose(found.scores, answers.max(axis=1), rtol=1e-4)


def test_a_row_is_explained_as_if_it_were_alone(models) -> None:
    rows = np.random.default_rng(5).random((2, 4), dtype=np.float32)
    model = load(models.root, "dense")
    both = explain(model, rows, target=2)
    alone = explain(model, rows[1:], target=2, shares_calls=False)
    np.testing.assert_allclose(both.attributions[1], alone.attributions[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", list(Method))
def test_no_explained_row_is_kept(models, method: Method) -> None:
    explainer = Explainer(load(models.root, "dense"), shares_calls=True)
    rows = np.random.default_rng(5).random((2, 4), dtype=np.float32)
    kept = weakref.ref(rows)
    found = explainer.explain(Question(rows=rows, method=method), lambda: True)
    answer = weakref.ref(found.attributions)
    del rows, found
    gc.collect()
    assert (kept(), answer()) == (None, None)


def test_both_methods_agree_for_a_sum(models) -> None:
    rows = np.asarray([[1.0, -2.0, 3.0, 0.0]], dtype=np.float32)
    model = load(models.root, "dense", "total")
    for method in (Method.INTEGRATED_GRADIENTS, Method.OCCLUSION):
        found = explain(model, rows, method=method)
        assert found.method is method
        np.testing.assert_allclose(found.attributions, rows, rtol=1e-5)


@pytest.mark.parametrize("name", ["lstm", "lstm-dropout"])
def test_positions_of_tokens_are_weighed_by_occlusion(models, name: str) -> None:
    rows = np.asarray([[0, 0, 3, 7, 1, 9]], dtype=np.int32)
    model = load(models.root, name)
    found = explain(model, rows)
    assert found.method is Method.OCCLUSION
    assert found.attributions.shape == rows.shape
    assert list(found.attributions[0, :2]) == [0, 0], "padding is as the baseline"
    without = rows.copy()
    without[0, 3] = 0
    fall = float(model.predictor((rows,))[0][0, 0] - model.predictor((without,))[0][0, 0])
    assert found.attributions[0, 3] == pytest.approx(fall, abs=1e-6)
    with pytest.raises(RequestError, match=r"parameters\.method: .*int32, which has no gradient; use occlusion"):
        explain(model, rows, method=Method.INTEGRATED_GRADIENTS)


def test_words_of_a_text_are_weighed_by_leaving_them_out(models) -> None:
    texts = np.empty(2, dtype=object)
    texts[:] = [b"no", "yes élan".encode()]
    found = explain(load(models.root, "words"), texts)
    assert found.method is Method.OCCLUSION
    assert found.words is not None
    assert found.words.tolist() == [[b"no", b""], [b"yes", "élan".encode()]]
    # The table knows "no" as 2, and of the second text only what is left without its other word: "yes" is 1.
    np.testing.assert_allclose(found.attributions, [[2, 0], [0, -1]])
    assert found.baseline_scores is None


FLOATS = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 2))
SCORES = TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 2))


def stand_in(predictor, *, inputs=(FLOATS,), outputs=(SCORES,)) -> LoadedModel:
    signature = Signature(name="serving_default", method="", inputs=inputs, outputs=outputs)
    return LoadedModel(signature=signature, predictor=predictor, kind="stand-in")


def test_another_engine_is_explained_by_occlusion() -> None:
    found = explain(stand_in(lambda inputs: (inputs[0] * 2,)), np.asarray([[1, 3]], dtype=np.float32))
    assert found.method is Method.OCCLUSION
    np.testing.assert_allclose(found.attributions, [[0, 6]])


def test_a_call_of_a_model_with_many_classes_has_few_rows() -> None:
    asked: list[int] = []

    def predict(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        asked.append(len(inputs[0]))
        return (np.broadcast_to(inputs[0].sum(axis=1, keepdims=True), (len(inputs[0]), ELEMENTS_PER_CALL // 4)),)

    wide = TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, None))
    found = explain(stand_in(predict, outputs=(wide,)), np.ones((1, 20), dtype=np.float32), target=3)
    np.testing.assert_allclose(found.attributions, np.ones((1, 20)))
    assert max(asked) == 4


ONE = np.ones((1, 2), dtype=np.float32)
SECOND = TensorSpec(name="z", dtype=DType.FLOAT32, shape=(None,))
WIDE = TensorSpec(name="w", dtype=DType.FLOAT32, shape=(None, 2, 2))
TEXTS = TensorSpec(name="s", dtype=DType.STRING, shape=(None,))
FLAGS = TensorSpec(name="b", dtype=DType.BOOL, shape=(None, 2))
PAIR = TensorSpec(name="pair", dtype=DType.FLOAT32, shape=(2, 2))


@pytest.mark.parametrize(
    ("specs", "question", "sentence"),
    [
        pytest.param({"inputs": (FLOATS, SECOND)}, {}, "one input; this one has 2", id="two inputs"),
        pytest.param({"inputs": (FLAGS,)}, {}, "'b' holds booleans", id="booleans"),
        pytest.param({"inputs": (PAIR,)}, {}, "'pair' has another one", id="no rows"),
        pytest.param({"outputs": (SCORES, SECOND)}, {}, "parameters.output must name .* 'y', 'z'", id="which output"),
        pytest.param({"outputs": (WIDE,)}, {}, "parameters.output must name .* none", id="no scores"),
        pytest.param({}, {"output": "q"}, "parameters.output: 'q' .* the model has 'y'", id="an unknown output"),
        pytest.param({}, {"target": 2}, "parameters.target: there is no class 2; .* has 2", id="an unknown class"),
        pytest.param({}, {"rows": np.ones((ROWS_MAX + 1, 2), np.float32)}, "input 'x': at most 16 rows", id="rows"),
        pytest.param({}, {"rows": np.full((1, 2), np.nan, np.float32)}, "input 'x': NaN", id="not a number"),
        pytest.param(
            {}, {"rows": np.ones((1, 1_000_001), np.float32)}, "input 'x': at most 1000000 numbers", id="a large row"
        ),
        pytest.param({}, {"baseline": 1e39}, r"parameters.baseline: 1e\+39 is no value of float32", id="a baseline"),
        pytest.param({}, {"method": Method.INTEGRATED_GRADIENTS}, "another engine", id="no gradient"),
        pytest.param({"inputs": (TEXTS,)}, {"rows": np.asarray([b" "], object)}, "row 0 has no words", id="no words"),
        pytest.param({"inputs": (TEXTS,)}, {"rows": np.asarray([b"\xff"], object)}, "no UTF-8 text", id="no text"),
        pytest.param(
            {"inputs": (TEXTS,)}, {"rows": np.asarray([b"a"], object), "baseline": 0.0}, "baseline: a text", id="text"
        ),
        pytest.param(
            {"inputs": (TEXTS,)}, {"rows": np.asarray([b"a" * 70_000], object)}, "70000 bytes; the most", id="long"
        ),
    ],
)
def test_a_request_that_cannot_be_explained_is_refused_by_name(specs, question, sentence: str) -> None:
    model = stand_in(lambda inputs: (inputs[0],), **specs)
    with pytest.raises(RequestError, match=sentence) as refused:
        explain(model, **{"rows": ONE, **question})
    assert refused.value.reason is RequestReason.INVALID_INPUT


@pytest.mark.parametrize(
    ("compute", "sentence"),
    [
        pytest.param(
            lambda rows: 1 / (rows[:, 0] - 1), "parameters.output: the score of 'y' .* is inf", id="the input"
        ),
        pytest.param(
            lambda rows: np.where(rows[:, 0] == 1, 1, np.nan), "parameters.baseline: .* 0 is nan, .*another", id="zeros"
        ),
        pytest.param(lambda rows: 1 / (rows.sum(axis=1) - 1), "parameters.output: .*without a part", id="between"),
        pytest.param(
            lambda rows: rows.sum(axis=1).astype(np.float64) * 1e300, "parameters.output: .*too large", id="too large"
        ),
    ],
)
def test_scores_that_are_not_finite_are_refused_by_name(compute: Callable[[Array], Array], sentence: str) -> None:
    def predict(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (compute(inputs[0]),)

    with pytest.raises(RequestError, match=sentence) as refused:
        explain(stand_in(predict), ONE)
    assert refused.value.reason is RequestReason.INVALID_INPUT


def test_a_gradient_that_cannot_be_made_leads_to_occlusion_and_is_tried_once(caplog) -> None:
    unknown = tensorflow_import.import_part("core.framework.graph_pb2").GraphDef()
    unknown.node.add(name="x", op="NoOperationOfThisName")
    session = SimpleNamespace(graph=SimpleNamespace(as_graph_def=lambda: unknown))
    predictor = FrozenPredictor(session, lambda rows: (rows * 2,), feeds=["x:0"], fetches=["x:0"])
    explainer = Explainer(stand_in(predictor), shares_calls=True)
    for _ in range(2):
        assert explainer.explain(Question(rows=ONE), lambda: True).method is Method.OCCLUSION
    assert [record.message for record in caplog.records] == ["the gradient of output 'y' can't be made"]


def test_a_model_that_refuses_or_fails_is_reported_as_such() -> None:
    def refuse(_: object) -> tuple[Array, ...]:
        raise InputRefusedError("too dark")

    def fail(_: object) -> tuple[Array, ...]:
        raise ModelFailedError("no memory")

    with pytest.raises(RequestError, match="too dark") as refused:
        explain(stand_in(refuse), ONE)
    assert refused.value.reason is RequestReason.INVALID_INPUT
    with pytest.raises(RequestError) as failed:
        explain(stand_in(fail), ONE)
    assert failed.value.reason is RequestReason.MODEL_FAILED


def test_work_ends_when_its_client_has_gone() -> None:
    calls: list[int] = []

    def model(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        calls.append(len(inputs[0]))
        return inputs

    with pytest.raises(AbandonedError):
        Explainer(stand_in(model), shares_calls=True).explain(Question(rows=ONE), lambda: len(calls) < 3)
    assert len(calls) == 3
