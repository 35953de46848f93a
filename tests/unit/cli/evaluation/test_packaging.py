"""`fairlead package`: an archive that the runtime serves with its record, and the manifest that deploys it."""

from __future__ import annotations

import json
import pathlib
import tarfile
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from typer.testing import CliRunner

from fairlead_cli import main
from fairlead_operator.api.spec import ModelDeploymentSpec
from fairlead_runtime.model import digest, evaluation_record, loader, reference_statistics, source
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.evaluation_record import Outcome
from fairlead_runtime.optimization import samples

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
RUNNER = CliRunner()
ROWS = np.eye(3, dtype=np.float32).repeat(20, axis=0)
LABELS = np.arange(3).repeat(20)


class Texts(tf.Module):
    """Says whether a text contains the word `good`, as a probability."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def call(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        found = tf.strings.regex_full_match(text, ".*good.*")
        return {"positive": tf.cast(found, tf.float32)[:, None]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("packaged")
    module = Texts()
    tf.saved_model.save(module, str(root / "texts" / "saved_model"), signatures={"serving_default": module.call})
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", kernel_initializer="identity")(inputs))
    model.export(root / "plain" / "saved_model", verbose=False)
    model.save(root / "plain" / "model.keras")
    np.savez(root / "numbers.npz", x=ROWS, labels=LABELS)
    np.savez(root / "texts.npz", text=np.array(["a good film", "schön"] * 20, dtype=str), labels=[1, 0] * 20)
    return root


def package(model: pathlib.Path, data: pathlib.Path, out: pathlib.Path, *options: str) -> dict[str, Any]:
    """The manifest, checked as the operator reads it."""
    result = RUNNER.invoke(
        main.app, ["package", str(model), str(data), "--name", "digits", "--out", str(out), *options]
    )
    assert result.exit_code == 0, result.output
    manifest: dict[str, Any] = yaml.safe_load(result.stdout)
    ModelDeploymentSpec.model_validate(manifest["spec"])
    return manifest


def content(path: pathlib.Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["saved_model", "model.keras"])
def test_the_runtime_serves_the_archive_with_its_record(made: pathlib.Path, tmp_path: pathlib.Path, model: str) -> None:
    out = tmp_path / "digits.tar.gz"
    manifest = package(made / "plain" / model, made / "numbers.npz", out)
    given = manifest["spec"]["model"]
    assert given == {"uri": out.as_uri(), "digest": digest.hash_path(out)}
    bounds = Bounds(bytes_max=100_000_000)
    cache = Cache(tmp_path / "cache", bytes_max=100_000_000)
    fetched = source.fetch(given["uri"], given["digest"], cache, bounds)
    found = evaluation_record.find(fetched.path, loader.find_root(fetched.path))
    assert (found.outcome, found.message) == (Outcome.READ, "")
    assert found.record is not None
    assert found.record.interval.low == pytest.approx(0.9398, abs=1e-4)
    assert "rollout" not in manifest["spec"]


def test_a_required_accuracy_is_the_one_that_is_given(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    manifest = package(made / "plain" / "saved_model", made / "numbers.npz", tmp_path / "a.tar.gz", "--min", "0.93")
    assert manifest["spec"]["rollout"]["requireEvaluation"] == {"metric": "Accuracy", "min": 0.93}


def test_each_content_has_an_archive_of_its_own(
    made: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second version must not replace the file that the first one's revision is pinned to."""
    monkeypatch.chdir(tmp_path)
    for data in ("numbers.npz", "fewer.npz"):
        if data == "fewer.npz":
            np.savez(tmp_path / data, x=ROWS[:30], labels=LABELS[:30])
        source_of = made / data if data == "numbers.npz" else tmp_path / data
        arguments = ["package", str(made / "plain" / "saved_model"), str(source_of), "--name", "digits"]
        result = RUNNER.invoke(main.app, arguments)
        assert result.exit_code == 0, result.output
        given = yaml.safe_load(result.stdout)["spec"]["model"]
        name = f"digits-{given['digest'].removeprefix('sha256:')[:8]}.tar.gz"
        assert given["uri"] == (tmp_path / name).as_uri()
        assert digest.hash_path(tmp_path / name) == given["digest"]
    assert len(list(tmp_path.glob("*.tar.gz"))) == 2


def test_the_same_model_and_data_give_the_same_archive(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    outs = [tmp_path / "first.tar.gz", tmp_path / "second.tar.gz"]
    for out in outs:
        package(made / "plain" / "saved_model", made / "numbers.npz", out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {out.name for out in outs}


def test_the_example_is_a_request_of_one_row(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    package(made / "plain" / "saved_model", made / "numbers.npz", tmp_path / "a.tar.gz")
    assert json.loads(content(tmp_path / "a.tar.gz")["example.json"]) == {
        "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 0.0, 0.0]}]
    }
    package(made / "texts" / "saved_model", made / "texts.npz", tmp_path / "b.tar.gz")
    assert json.loads(content(tmp_path / "b.tar.gz")["example.json"]) == {
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a good film"]}]
    }


def test_statistics_are_of_the_reference_data_alone(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rows = ROWS.copy()
    rows[0, 0] = np.nan
    np.savez(tmp_path / "train.npz", x=rows, labels=LABELS)
    arguments = (made / "plain" / "saved_model", made / "numbers.npz", tmp_path / "a.tar.gz")
    package(*arguments)
    assert "statistics.json" not in content(tmp_path / "a.tar.gz")
    package(*arguments, "--reference", str(tmp_path / "train.npz"))
    found = json.loads(content(tmp_path / "a.tar.gz")["statistics.json"])
    assert found["samples"] == 60
    assert found["labels"] == {"0": 20, "1": 20, "2": 20}
    assert found["data"] == {"name": "train.npz", "digest": digest.hash_path(tmp_path / "train.npz")}
    values = found["inputs"]["x"]["values"]
    assert (values["count"], values["notFinite"], values["min"], values["max"]) == (180, 1, 0.0, 1.0)
    assert values["mean"] == pytest.approx(59 / 179)
    assert values["quantiles"]["0.5"] == 0.0


def reference_of(archive: pathlib.Path, folder: pathlib.Path) -> reference_statistics.ReferenceStatistics:
    """What a replica takes from the archive."""
    cache = Cache(folder / "cache", bytes_max=100_000_000)
    fetched = source.fetch(archive.as_uri(), None, cache, Bounds(bytes_max=100_000_000))
    root = loader.find_root(fetched.path)
    loaded = loader.load(root, None, None, Bounds(bytes_max=100_000_000), threads=1)
    evaluation = evaluation_record.find(fetched.path, root)
    found = reference_statistics.find(fetched.path, root, loaded.signature, evaluation)
    assert (found.outcome, found.message) == (Outcome.READ, "")
    assert found.statistics is not None
    return found.statistics


def test_a_replica_reads_the_statistics_of_a_model_of_numbers(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    rows[::4, 1] = 0.0
    rows[1, 2] = np.nan
    np.savez(tmp_path / "train.npz", x=rows, labels=np.zeros(len(rows), np.int64))
    out = tmp_path / "a.tar.gz"
    reference = str(tmp_path / "train.npz")
    package(made / "plain" / "saved_model", made / "numbers.npz", out, "--reference", reference)
    found = reference_of(out, tmp_path)
    features = {each.name: each for each in found.features}
    assert set(features) == {"input0_0", "input0_1", "input0_2", "score"}
    assert [sum(features[name].counts) for name in ("input0_0", "input0_1", "input0_2", "score")] == [2000] * 3 + [30]
    assert len(features["input0_0"].edges) == 9
    assert max(features["input0_0"].counts) < 300
    # A frequent value has a bin of its own.
    edges, counts = features["input0_1"].edges, features["input0_1"].counts
    assert edges[edges.index(0.0) - 1] == np.nextafter(0.0, -1)
    assert counts[edges.index(0.0)] == pytest.approx(500, abs=100)
    assert sum(each.counts[-1] for each in found.features) <= 1
    assert found.predicted is not None
    assert (found.predicted.classes, found.predicted.counts) == ((0, 1, 2), (20, 20, 20, 0))


def test_a_model_of_numbers_has_reference_attributions_of_the_evaluation_data(
    made: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The model gives the class of the only column that is 1, and the mean of the training data is 0.5."""
    np.savez(tmp_path / "train.npz", x=np.tile([[0, 0, 0], [1, 1, 1]], (50, 1)).astype(np.float32), labels=[0, 1] * 50)
    arguments = (made / "plain" / "saved_model", made / "numbers.npz")
    for options, rows in (((), 60), (("--explained", "20"), 20)):
        out = tmp_path / f"of-{rows}.tar.gz"
        package(*arguments, out, "--reference", str(tmp_path / "train.npz"), *options)
        (tmp_path / str(rows)).mkdir()
        found = reference_of(out, tmp_path / str(rows)).attributions
        assert found is not None
        assert found.baselines == (0.5, 0.5, 0.5)
        assert sum(found.shares) == pytest.approx(rows, abs=1e-3)
        assert found.shares[:3] == pytest.approx([rows / 3] * 3, rel=0.5)
        assert found.shares[3] == 0
    out = tmp_path / "none.tar.gz"
    package(*arguments, out, "--reference", str(tmp_path / "train.npz"), "--explained", "0")
    (tmp_path / "none").mkdir()
    assert reference_of(out, tmp_path / "none").attributions is None


def test_a_replica_reads_the_statistics_of_a_model_of_texts(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "a.tar.gz"
    data = made / "texts.npz"
    package(made / "texts" / "saved_model", data, out, "--reference", str(data))
    found = reference_of(out, tmp_path)
    assert found.attributions is None
    names = {"input0_length", "input0_unknown", "score"}
    assert ({each.name for each in found.features}, found.predicted) == (names, None)
    (vocabulary,) = found.vocabularies
    assert (vocabulary.input, len(vocabulary.words)) == (0, 4)
    lengths = next(each for each in found.features if each.name == "input0_length")
    assert {6.0, 11.0} <= set(lengths.edges)
    assert sum(lengths.counts) == 10


def test_statistics_that_no_replica_reads_are_refused(
    made: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference_statistics, "BYTES_MAX", 500)
    model, data, out = made / "plain" / "saved_model", str(made / "numbers.npz"), tmp_path / "a.tar.gz"
    arguments = ["package", str(model), data, "--name", "digits", "--out", str(out), "--reference", data]
    result = RUNNER.invoke(main.app, arguments)
    assert result.exit_code == 1
    assert "no replica would read the reference statistics: statistics.json is larger than 500 bytes" in result.output
    assert not out.exists()


def test_the_manifest_names_where_the_archive_will_be(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    uri = "s3://models/digits/1.tar.gz"
    manifest = package(made / "plain" / "saved_model", made / "numbers.npz", tmp_path / "a.tar.gz", "--uri", uri)
    assert manifest["spec"]["model"]["uri"] == uri


@pytest.mark.parametrize("name", ["Digits", "-a", "1a", "a_b", "a" * 51, ""])
def test_a_name_that_no_model_can_have_is_refused(made: pathlib.Path, tmp_path: pathlib.Path, name: str) -> None:
    model, data = made / "plain" / "saved_model", made / "numbers.npz"
    result = RUNNER.invoke(main.app, ["package", str(model), str(data), "--name", name])
    assert result.exit_code == 1
    assert "--name" in result.output


def test_an_archive_that_cannot_be_written_is_an_error(made: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "missing" / "a.tar.gz"
    arguments = ["package", str(made / "plain" / "saved_model"), str(made / "numbers.npz"), "--name", "digits"]
    result = RUNNER.invoke(main.app, [*arguments, "--out", str(out)])
    assert result.exit_code == 1
    assert f"{out} can't be written" in result.output


def test_samples_are_rows_that_a_replica_reads_and_the_same_bytes_each_time(
    made: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    model, data = made / "plain" / "saved_model", made / "numbers.npz"
    package(model, data, tmp_path / "a.tar.gz", "--samples", "12")
    package(model, data, tmp_path / "b.tar.gz", "--samples", "12")
    assert (tmp_path / "a.tar.gz").read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    path = tmp_path / samples.NAME
    path.write_bytes(content(tmp_path / "a.tar.gz")[samples.NAME])
    signature = loader.load(model, None, None, Bounds(bytes_max=100_000_000), threads=1).signature
    found = samples.read(path, signature)
    assert len(found.labels) == 12
    assert found.inputs[0].argmax(axis=1).tolist() == found.labels.tolist()


@pytest.mark.parametrize(
    ("model", "data", "count", "why"),
    [
        ("plain/saved_model", "numbers.npz", "5", "has 5 rows; it must have from 10 to 4096"),
        ("texts/saved_model", "texts.npz", "20", "input 'text' holds texts"),
    ],
)
def test_samples_that_no_replica_would_use_are_refused(
    made: pathlib.Path, tmp_path: pathlib.Path, model: str, data: str, count: str, why: str
) -> None:
    given = [str(made / model), str(made / data), "--name", "digits", "--out", str(tmp_path / "a.tar.gz")]
    result = RUNNER.invoke(main.app, ["package", *given, "--samples", count])
    assert result.exit_code == 1
    assert why in result.output
