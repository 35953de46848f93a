"""Real models in stages: all stages together answer as the model that the loader loads; what can't be cut says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.unit.runtime.conftest import Models

from fairlead_runtime import config
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import cache as caches
from fairlead_runtime.model import loader, prepare, tensorflow_import
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.onnx import child, trials
from fairlead_runtime.model.onnx.conversions import Wanted
from fairlead_runtime.model.predictor import Predictor, Tensors
from fairlead_runtime.model.signature import Signature
from fairlead_runtime.stages import cutting, graph, loading, parts

BOUNDS = Bounds(bytes_max=2**30)


def no_examples(_root: Path, _signature: Signature) -> Sequence[Tensors]:
    return ()


def wanted_for(path: Path, cache_dir: Path, **environment: object) -> tuple[Wanted, caches.Cache]:
    source = {"uri": path.as_uri()}
    raw = {"schemaVersion": 1, "namespace": "d", "model": "m", "revision": "r", "revisionNumber": 1, "source": source}
    given = config.Environment.model_validate({"cache_dir": cache_dir, "convert_s": 3000, **environment})
    return prepare.fetch(config.parse(raw), None, given, threads=1)


def chain(stages: Sequence[Predictor]) -> Predictor:
    def call(inputs: Tensors) -> Tensors:
        for stage in stages:
            inputs = stage(inputs)
        return inputs

    return call


@pytest.mark.parametrize(
    ("model", "stages"),
    [("mlp", 2), ("mlp", 3), ("residual", 2), ("residual", 3), ("lstm", 2), ("branches", 2), ("tied", 2)],
)
def test_all_stages_together_answer_as_the_loaded_model(cuttable: Path, model: str, stages: int) -> None:
    root = cuttable / model
    signature = loader.check(root, None, None, BOUNDS).signature
    assert signature is not None
    whole = loader.load(root, None, None, BOUNDS, threads=1).predictor
    tensorflow_import.import_for_saved_models()
    flat = graph.flatten(loader.read_meta_graph(root), signature)
    flow = graph.read_flow(flat)
    cut = cutting.cut(flow, stages)
    made = [parts.make(flat, flow, stage) for stage in cut]
    read = parts.read_checkpoint(root)
    staged = chain([parts.open_part(part, definition, read, threads=1) for part, definition in made])

    compared = 0
    for trial in trials.trials(signature):
        if trial.is_finite:
            expected, found = trials.answer(whole, trial.inputs), trials.answer(staged, trial.inputs)
            assert trials.is_same(expected, found), trials.describe(trial, expected, found)
            compared += not isinstance(expected, trials.Refused)
    assert compared >= trials.ANSWERS_NEEDED
    keys = [{variable.key for variable in part.variables} for part, _ in made]
    shared = set.intersection(*keys)
    assert bool(shared) == (model == "tied"), "only what several stages read is held by several"
    total = sum(each.bytes for each in flat.variables.values() if each.key in set.union(*keys))
    assert max(stage.weight_bytes for stage in cut) < total or model == "tied"


def test_the_first_start_cuts_and_proves_and_the_next_one_finds_it(
    cuttable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, cache = wanted_for(cuttable / "mlp", tmp_path / "cache")

    def example(root: Path, signature: Signature) -> Sequence[Tensors]:
        assert (root / "saved_model.pb").exists()
        return [(np.ones((2, 64), np.float32),)]

    first = loading.cut(wanted, cache, 2, example)
    assert first.cut.trials >= 1 + trials.ANSWERS_NEEDED
    assert first.cut.difference <= 1e-5
    assert first.cut.describe().startswith("2 stages with weights of 0.1, 0.3 MiB; ")
    assert sorted(each.name for each in first.folder.iterdir()) == [
        *("examples.npz", "record.json", "stage-1.pb", "stage-2.pb"),
    ], "the copies of the weights are gone"
    whole = loader.load(wanted.fetched.path, None, None, BOUNDS, threads=1).predictor
    inputs = (np.random.default_rng(3).random((5, 64), dtype=np.float32),)
    staged = chain([first.open_stage(number, threads=1) for number in (1, 2)])
    assert np.allclose(staged(inputs)[0], whole(inputs)[0], rtol=1e-5, atol=1e-6)

    monkeypatch.setattr(child, "run", None)
    second = loading.cut(wanted, cache, 2, example)
    assert second.cut == first.cut
    (second.folder / "stage-2.pb").write_bytes(b"damaged")
    with pytest.raises(TypeError, match="not callable"):
        loading.cut(wanted, cache, 2, example)


def refused(path: Path, tmp_path: Path, stages: int = 2) -> LoadError:
    wanted, cache = wanted_for(path, tmp_path / "cache")
    with pytest.raises(LoadError) as raised:
        loading.cut(wanted, cache, stages, no_examples)
    return raised.value


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("words", "its input 's' holds strings, so it can't be cut: leave spec.optimization.parallelism out"),
        (
            "counter",
            "which its calls change, so it can't be cut: leave spec.optimization.parallelism out",
        ),
        ("dense", "it can't be cut into stages .*leave spec.optimization.parallelism out"),
    ],
)
def test_a_model_that_cannot_be_cut_says_why_and_what_to_do(
    models: Models, tmp_path: Path, model: str, words: str
) -> None:
    error = refused(models.root / model, tmp_path)
    assert error.reason is LoadReason.CANNOT_CUT
    assert re.search(words, error.sentence), error.sentence


def test_a_keras_file_is_to_be_exported_first(cuttable: Path, tmp_path: Path) -> None:
    error = refused(cuttable / "mlp.keras", tmp_path)
    assert (error.reason, error.sentence) == (
        LoadReason.CANNOT_CUT,
        "a .keras file can't be cut into stages: export the model as a SavedModel (model.export)",
    )


def test_a_lack_of_time_is_not_the_fault_of_the_model(cuttable: Path, tmp_path: Path) -> None:
    wanted, cache = wanted_for(cuttable / "mlp", tmp_path / "cache", convert_s=0.05)
    with pytest.raises(LoadError, match="cutting the model took longer than") as raised:
        loading.cut(wanted, cache, 2, no_examples)
    assert raised.value.reason is LoadReason.CUT_FAILED
