"""The five networks, the five optimizers, and everything that a training leaves beside a model."""

from __future__ import annotations

import hashlib
import json
import pathlib

import keras
import numpy as np
import pytest
import yaml
from examples import digest, families, train, training_record
from tests.support.small_families import small

from fairlead_cli.evaluation import evaluating
from fairlead_operator.api import spec

pytestmark = pytest.mark.timeout(600)
TEXT = ("attention", "gru", "lstm")


@pytest.mark.parametrize(
    ("family", "input_shape", "input_dtype", "output_shape", "layers"),
    [
        pytest.param("dense", (None, 784), "float32", (None, 10), ["InputLayer", "Dense"], id="dense"),
        pytest.param(
            "cnn",
            (None, 28, 28, 1),
            "float32",
            (None, 10),
            ["InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Dense"],
            id="cnn",
        ),
        pytest.param("lstm", (None, 32), "int32", (None, 1), ["InputLayer", "Embedding", "LSTM", "Dense"], id="lstm"),
        pytest.param("gru", (None, 32), "int32", (None, 1), ["InputLayer", "Embedding", "GRU", "Dense"], id="gru"),
    ],
)
def test_each_family_has_the_layers_and_shapes_it_promises(
    family: str,
    input_shape: tuple[int | None, ...],
    input_dtype: str,
    output_shape: tuple[int | None, ...],
    layers: list[str],
) -> None:
    chosen = families.FAMILIES[family]
    model = chosen.build(chosen.load(chosen.default_data))

    assert model.input_shape == input_shape
    assert model.inputs[0].dtype == input_dtype
    assert model.output_shape == output_shape
    assert [type(layer).__name__ for layer in model.layers] == layers


@pytest.mark.parametrize(("family", "kind"), [("lstm", keras.layers.LSTM), ("gru", keras.layers.GRU)])
def test_a_recurrent_network_drops_inputs_and_states_only_while_learning(
    family: str, kind: type[keras.layers.Layer]
) -> None:
    chosen = families.FAMILIES[family]
    data = chosen.load(chosen.default_data)
    layer = next(layer for layer in chosen.build(data).layers if isinstance(layer, kind))

    assert (layer.units, layer.dropout, layer.recurrent_dropout) == (128, 0.2, 0.2)


def test_attention_looks_at_the_words_and_at_their_order() -> None:
    chosen = families.FAMILIES["attention"]
    keras.utils.set_random_seed(0)
    model = chosen.build(chosen.load(chosen.default_data))
    tokens = np.zeros((3, 32), "int32")
    tokens[:, -3:] = [[5, 6, 7], [7, 6, 5], [5, 6, 8]]
    first, turned, other = training_record.predict(model, tokens)[:, 0]

    assert (model.input_shape, model.output_shape) == ((None, 32), (None, 1))
    assert [type(layer).__name__ for layer in model.layers].count("MultiHeadAttention") == 1
    assert min(abs(first - turned), abs(first - other)) > 1e-6


@pytest.mark.parametrize("name", ["sgd", "momentum", "adagrad", "rmsprop", "adam"])
def test_each_optimizer_lowers_the_loss_of_a_small_network(name: str) -> None:
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    labels = (inputs.sum(axis=1) > 0).astype("int32")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, "softmax")])
    model.compile(families.optimizer(name), "sparse_categorical_crossentropy")
    before = model.evaluate(inputs, labels, verbose=0)

    model.train_on_batch(inputs, labels)

    assert model.evaluate(inputs, labels, verbose=0) < before


def test_momentum_is_sgd_with_a_memory_and_learning_rates_can_be_chosen() -> None:
    assert families.optimizer("momentum").momentum == 0.9
    assert families.optimizer("sgd").momentum == 0.0
    assert float(families.optimizer("adam", 0.5).learning_rate) == 0.5


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_a_training_leaves_all_that_a_rollout_needs(trained: dict[str, pathlib.Path], family: str) -> None:
    expected = {"saved_model", "model.keras", "training.json", "heldout.npz", "reference.npz", "manifest.yaml"}
    if family in TEXT:
        expected.add("vocabulary.txt")

    assert {entry.name for entry in trained[family].iterdir()} == expected


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_the_manifest_is_short_valid_and_pins_what_lies_on_disk(trained: dict[str, pathlib.Path], family: str) -> None:
    text = (trained[family] / "manifest.yaml").read_text()
    manifest = yaml.safe_load(text)
    parsed = spec.ModelDeploymentSpec.model_validate(manifest["spec"])

    assert len(text.splitlines()) <= 15
    assert manifest["metadata"]["name"] == family
    assert parsed.model.uri == (trained[family] / "saved_model").as_uri()
    assert parsed.model.digest == digest.hash_path(trained[family] / "saved_model")
    assert parsed.model.version == "v7"


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_both_stored_forms_answer_as_the_trained_model_did(trained: dict[str, pathlib.Path], family: str) -> None:
    with np.load(trained[family] / "heldout.npz") as kept:
        inputs, outputs, labels = kept["inputs"], kept["outputs"], kept["labels"]
    served = keras.layers.TFSMLayer(trained[family] / "saved_model", call_endpoint="serving_default")(inputs)
    loaded = keras.models.load_model(trained[family] / "model.keras", safe_mode=True)

    assert len(inputs) == len(outputs) == len(labels) == 32
    (value,) = served.values() if isinstance(served, dict) else (served,)
    np.testing.assert_allclose(np.asarray(value), outputs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(training_record.predict(loaded, inputs), outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_the_training_record_holds_what_is_needed_to_trust_its_number(
    trained: dict[str, pathlib.Path], family: str
) -> None:
    record = json.loads((trained[family] / "training.json").read_text())
    with np.load(trained[family] / "heldout.npz") as kept:
        right = training_record.classes_of(kept["outputs"]) == kept["labels"]

    assert record["heldOut"] == {"accuracy": pytest.approx(float(right.mean())), "n": 32}
    matrix = np.array(record["confusion"])
    assert matrix.sum() == 32
    assert matrix.trace() / matrix.sum() == pytest.approx(record["heldOut"]["accuracy"])
    assert matrix.shape == (len(record["classes"]),) * 2
    assert record["training"]["optimizer"] == "adam"
    assert (record["training"]["epochsRun"], record["training"]["seed"]) == (1, 0)
    assert record["digests"] == {
        name: digest.hash_path(trained[family] / name) for name in ("saved_model", "model.keras")
    }
    assert set(record["baselines"]) == ({"majority", "bagOfWords"} if family in TEXT else {"majority"})
    assert record["versions"]["keras"] == keras.__version__


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", list(families.FAMILIES))
def test_an_evaluation_on_the_held_out_file_finds_what_the_training_found(
    trained: dict[str, pathlib.Path], family: str
) -> None:
    training = json.loads((trained[family] / "training.json").read_text())
    record = evaluating.evaluate(trained[family] / "saved_model", trained[family] / "heldout.npz", None).record

    assert (record.value, record.samples) == (pytest.approx(training["heldOut"]["accuracy"]), 32)
    assert record.model_digest == training["digests"]["saved_model"]
    assert [row.name for row in record.classes] == training["classes"]
    assert [row.correct for row in record.classes] == np.diag(training["confusion"]).tolist()


@pytest.mark.parametrize(
    "family", ["dense", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("gru", "attention"))]
)
def test_a_seed_repeats_a_training(tmp_path: pathlib.Path, family: str) -> None:
    outputs = []
    for out in (tmp_path / "first", tmp_path / "second"):
        train.train(train.Order(family=small(family), out=out, seed=3))
        with np.load(out / family / "v1" / "heldout.npz") as kept:
            outputs.append(kept["outputs"])

    np.testing.assert_allclose(*outputs, rtol=0, atol=0 if family == "dense" else 1e-5)


def test_samples_that_judge_are_never_varied(trained: dict[str, pathlib.Path]) -> None:
    """Held-out images are kept as they were loaded, however the training ones were moved."""
    family = small("cnn")
    with np.load(trained["cnn"] / "heldout.npz") as kept:
        np.testing.assert_array_equal(kept["inputs"], family.load(family.default_data).held_out_inputs)


def test_the_digest_of_a_folder_is_that_of_its_sorted_listing(tmp_path: pathlib.Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "assets").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "variables" / "data").write_bytes(b"weights")
    graph, weights = hashlib.sha256(b"graph").hexdigest(), hashlib.sha256(b"weights").hexdigest()
    listing = f"{graph}  saved_model.pb\n{weights}  variables/data\n"

    assert digest.hash_path(tmp_path) == "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
    assert digest.hash_path(tmp_path / "saved_model.pb") == f"sha256:{graph}"


def test_data_that_cannot_be_had_is_said_in_one_line(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "mnist.npz"

    assert train.main(["dense", "--out", str(tmp_path), "--data", str(missing)]) == 2
    assert capsys.readouterr().err.startswith(f"{missing} can't be read in the layout of mnist.npz")


def test_one_process_trains_several_versions_in_the_order_given(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["dense", "--epochs", "1", "--out", str(tmp_path)]
    missing = ["dense", "--version", "v3", "--out", str(tmp_path), "--data", str(tmp_path / "mnist.npz")]

    assert train.main([*one, "--then", *one, "--version", "v2", "--then", *missing, "--then", *one]) == 2

    printed = capsys.readouterr().out
    assert printed.index("dense v1: held-out") < printed.index("dense v2: held-out")
    assert {path.name for path in (tmp_path / "dense").iterdir()} == {"v1", "v2"}
    loaded = [keras.saving.load_model(tmp_path / "dense" / version / "model.keras") for version in ("v1", "v2")]
    assert [[layer.name for layer in model.layers] for model in loaded] == 2 * [["pixels", "probabilities"]]
