"""TensorFlow Serving's Classify, Regress and MultiInference: `tf.Example`s in, classes or numbers out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from tests.support.replica_parts import MODEL, Parts, Setting, answer_of, assemble, assemble_inline, request

from fairlead_runtime.model.predictor import Tensors
from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.protocols.grpc import v1_messages
from fairlead_runtime.server.limits import ServerLimits

V1 = v1_messages.MESSAGES
EXAMPLES = TensorSpec(name="examples", dtype=DType.STRING, shape=(None,))
CLASSES = TensorSpec(name="classes", dtype=DType.STRING, shape=(None, None))
SCORES = TensorSpec(name="scores", dtype=DType.FLOAT32, shape=(None, None))
NUMBERS = TensorSpec(name="classes", dtype=DType.INT64, shape=(None, None))
WORDS = TensorSpec(name="scores", dtype=DType.STRING, shape=(None, None))
NUMBER = TensorSpec(name="outputs", dtype=DType.FLOAT32, shape=(None, 1))
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def age_of(serialized: bytes) -> float:
    features = V1["Example"].FromString(serialized).features.feature
    return float(sum(features["age"].int64_list.value) + sum(features["more"].float_list.value))


def classify(inputs: Tensors) -> Tensors:
    ages = [age_of(each) for each in inputs[0]]
    labels = np.array([[b"young", b"old"]] * len(ages), dtype=object)
    return labels, np.array([[1 - age / 100, age / 100] for age in ages], np.float32)


def regress(inputs: Tensors) -> Tensors:
    return (np.array([[age_of(each)] for each in inputs[0]], np.float32),)


def parts_with(model: Callable[[Tensors], Tensors], *outputs: TensorSpec, given: TensorSpec = EXAMPLES) -> Parts:
    signature = Signature(name="s", method="tensorflow/serving/predict", inputs=(given,), outputs=outputs)
    return assemble_inline(Setting(signature=signature, model=model))


def example(**features: float) -> Any:
    message = V1["Example"]()
    for name, value in features.items():
        feature = message.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.append(value)
    return message.SerializeToString()


def input_of(*examples: bytes, context: bytes | None = None) -> Any:
    given = V1["Input"]()
    if context is None:
        given.example_list.examples.extend(examples)
    else:
        given.example_list_with_context.examples.extend(examples)
        given.example_list_with_context.context = context
    return given


def asked(kind: str, given: Any, **spec: Any) -> Any:
    return V1[kind](model_spec={"name": MODEL, **spec}, input=given)


def task(method: str, given: Any, *, count: int = 1) -> Any:
    tasks = [{"model_spec": {"name": MODEL}, "method_name": method}] * count
    return V1["MultiInferenceRequest"](tasks=tasks, input=given)


def call(parts: Parts, method: str, message: Any) -> tuple[int, Any]:
    """The status with the answer's bytes, or with the sentence of the refusal."""
    body = message.SerializeToString()
    framed = b"\0" + len(body).to_bytes(4, "big") + body
    path = f"/rpc/models/{MODEL}/tensorflow.serving.PredictionService/{method}"
    answer = answer_of(parts.handler, request("POST", path, framed))
    return answer.status, answer.body[5:] if answer.status == 200 else orjson.loads(answer.body)["error"]


def classes_of(result: Any) -> list[list[tuple[str, float]]]:
    return [[(one.label, round(one.score, 3)) for one in each.classes] for each in result.classifications]


def test_examples_are_classified() -> None:
    status, body = call(
        parts_with(classify, CLASSES, SCORES), "Classify", asked("ClassificationRequest", input_of(*map_ages(20, 70)))
    )
    answer = V1["ClassificationResponse"].FromString(body)
    assert (status, answer.model_spec.name, answer.model_spec.version.value) == (200, MODEL, 3)
    assert classes_of(answer.result) == [[("young", 0.8), ("old", 0.2)], [("young", 0.3), ("old", 0.7)]]


def map_ages(*ages: int) -> list[bytes]:
    return [example(age=age) for age in ages]


@pytest.mark.parametrize(
    ("output", "kept", "expected"),
    [(CLASSES, 0, [("young", 0.0), ("old", 0.0)]), (SCORES, 1, [("", 0.8), ("", 0.2)])],
    ids=["labels alone", "scores alone"],
)
def test_a_model_may_give_labels_or_scores_alone(
    output: TensorSpec, kept: int, expected: list[tuple[str, float]]
) -> None:
    parts = parts_with(lambda inputs: (classify(inputs)[kept],), output)
    _, body = call(parts, "Classify", asked("ClassificationRequest", input_of(*map_ages(20))))
    assert classes_of(V1["ClassificationResponse"].FromString(body).result) == [expected]


def test_examples_share_the_features_of_their_context() -> None:
    given = input_of(*map_ages(1, 2), context=example(more=0.5))
    _, body = call(parts_with(regress, NUMBER), "Regress", asked("RegressionRequest", given))
    answer = V1["RegressionResponse"].FromString(body)
    assert [one.value for one in answer.result.regressions] == [1.5, 2.5]


def test_one_task_is_inferred_by_its_method() -> None:
    given = input_of(*map_ages(20))
    _, body = call(parts_with(classify, CLASSES, SCORES), "MultiInference", task(CLASSIFY, given))
    (result,) = V1["MultiInferenceResponse"].FromString(body).results
    assert (result.model_spec.signature_name, result.HasField("regression_result")) == ("s", False)
    assert classes_of(result.classification_result) == [[("young", 0.8), ("old", 0.2)]]
    _, body = call(parts_with(regress, NUMBER), "MultiInference", task(REGRESS, given))
    (result,) = V1["MultiInferenceResponse"].FromString(body).results
    assert [one.value for one in result.regression_result.regressions] == [20]


@pytest.mark.parametrize(("examples", "status"), [(16, 200), (17, 413)])
def test_the_context_counts_once_for_each_example(examples: int, status: int) -> None:
    """A message of 130 KB with 30,000 empty examples took 3.9 GB."""
    context = example(**{"a" * 1005: 0.5})
    assert len(context) == 1024
    signature = Signature(name="s", method="", inputs=(EXAMPLES,), outputs=(NUMBER,))
    setting = Setting(signature=signature, model=regress, limits=ServerLimits(body_bytes_max=4096))
    message = asked("RegressionRequest", input_of(*[b""] * examples, context=context))
    found, answer = call(assemble_inline(setting), "Regress", message)
    assert found == status
    if status == 413:
        assert f"the examples have {examples * 1024} bytes, counting the context once for each" in answer


GOOD = input_of(*map_ages(1))


@pytest.mark.parametrize(
    ("method", "message", "words"),
    [
        ("Classify", asked("ClassificationRequest", V1["Input"]()), "input: exactly one of example_list and"),
        ("Classify", asked("ClassificationRequest", input_of()), "input.example_list.examples: at least one"),
        ("Classify", asked("ClassificationRequest", input_of(context=b"")), "context.examples: at least one"),
        (
            "Classify",
            asked("ClassificationRequest", input_of(example(age=1), b"\xff\xff")),
            "input.example_list.examples[1]: can't be read as a tf.Example",
        ),
        (
            "Classify",
            asked("ClassificationRequest", input_of(example(age=1), context=b"\xff")),
            "input.example_list_with_context.context: can't be read as a tf.Example",
        ),
        (
            "Classify",
            asked("ClassificationRequest", input_of(example(age=1), context=example(age=2))),
            "examples[0]: the feature 'age' is in the context already",
        ),
        ("Classify", asked("ClassificationRequest", GOOD, signature_name="t"), "signature_name: this replica serves"),
        ("Regress", asked("RegressionRequest", GOOD), "regress needs a signature with exactly one float output"),
        ("MultiInference", task(CLASSIFY, GOOD, count=0), "tasks: exactly one is needed"),
        ("MultiInference", task(CLASSIFY, GOOD, count=2), "tasks: exactly one is needed"),
        ("MultiInference", task("tensorflow/serving/predict", GOOD), "tasks[0].method_name: use tensorflow/serving/"),
        ("MultiInference", task(REGRESS, GOOD), "regress needs a signature with exactly one float output"),
    ],
)
def test_what_cannot_be_classified_is_refused_with_the_field(method: str, message: Any, words: str) -> None:
    status, sentence = call(parts_with(classify, CLASSES, SCORES), method, message)
    assert status == 400, sentence
    assert words in sentence


@pytest.mark.parametrize(
    ("outputs", "values", "words"),
    [
        ((NUMBERS,), None, "classify needs strings in the output named classes"),
        ((NUMBER,), None, "an output named classes with strings or one named scores with floats"),
        ((SCORES,), (np.array([0.5], np.float32),), "the output scores has the shape [1]"),
        (
            (CLASSES, SCORES),
            (np.array([[b"a", b"b"]], object), np.array([[0.5]], np.float32)),
            "classes [1, 2] and scores [1, 1] differ",
        ),
        ((CLASSES,), (np.array([[b"\xff"]], object),), "a label of the model is not UTF-8"),
        ((NUMBERS, SCORES), None, "classify needs strings in the output named classes, which has int64"),
        ((CLASSES, WORDS), None, "classify needs floats in the output named scores, which has "),
        ((SCORES,), (np.array([[0.5], [0.5]], np.float32),), "scores has the shape [2, 1]; it must be [examples, cla"),
        ((CLASSES,), (np.array([], object).reshape(0, 2),), "[examples, classes], of 1 examples"),
    ],
)
def test_a_model_that_is_no_classifier_is_refused_with_what_one_needs(
    outputs: tuple[TensorSpec, ...], values: Tensors | None, words: str
) -> None:
    status, sentence = call(
        parts_with(lambda _: values or (), *outputs), "Classify", asked("ClassificationRequest", GOOD)
    )
    assert status == 400, sentence
    assert words in sentence


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (0, 1), ()])
def test_a_model_that_does_not_give_one_number_for_each_example_is_refused(shape: tuple[int, ...]) -> None:
    parts = parts_with(lambda _: (np.ones(shape, np.float32),), TensorSpec(name="y", dtype=DType.FLOAT32, shape=None))
    status, sentence = call(parts, "Regress", asked("RegressionRequest", GOOD))
    assert status == 400, sentence
    assert f"the shape {list(shape)}, not one number for each of 1 examples" in sentence


@pytest.mark.parametrize(("size", "is_beside"), [(1000, False), (3000, True)])
async def test_examples_are_read_beside_the_loop_sooner_than_numbers(size: int, is_beside: bool) -> None:
    signature = Signature(name="s", method="", inputs=(EXAMPLES,), outputs=(NUMBER,))
    parts = assemble(asyncio.get_running_loop(), Setting(signature=signature, model=regress))
    message = asked("RegressionRequest", input_of(example(**{"a" * size: 0.5}))).SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    path = f"/rpc/models/{MODEL}/tensorflow.serving.PredictionService/Regress"
    by_rest = orjson.dumps({"examples": [{"a" * size: 0.5}]})
    try:
        for asking in (request("POST", path, body), request("POST", f"/v1/models/{MODEL}:regress", by_rest)):
            answer = parts.handler.handle(asking)
            assert isinstance(answer, asyncio.Task) is is_beside
            found = await answer if isinstance(answer, asyncio.Future) else answer
            assert found.status == 200, found.body
    finally:
        parts.plane.close()
