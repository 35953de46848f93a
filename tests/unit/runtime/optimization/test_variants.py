"""Variants of real models: made once for each content, judged by the samples beside it, served if good enough."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest

from fairlead_runtime import config
from fairlead_runtime.model import engine as engines
from fairlead_runtime.model import loader, prepare
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.onnx import child
from fairlead_runtime.model.onnx import record as conversion
from fairlead_runtime.model.variant import FLOAT, VariantReason
from fairlead_runtime.optimization import making, record, samples, variants

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]
BOUNDS = Bounds(bytes_max=100_000_000)
ROWS = 480


def build() -> keras.Model:
    """A convolution and two dense layers. Most of their units have no effect on the output."""
    keras.utils.set_random_seed(3)
    image = keras.Input((12, 12, 1), name="image")
    hidden = keras.layers.Conv2D(32, 3, activation="relu")(image)
    hidden = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(hidden))
    hidden = keras.layers.Dense(256, "relu", name="wide")(hidden)
    return keras.Model(image, keras.layers.Dense(4, "softmax", name="probabilities")(hidden))


def balance(last: keras.layers.Dense, probabilities: np.ndarray) -> None:
    """Makes all classes about equally frequent."""
    weights, bias = last.get_weights()
    last.set_weights([weights, bias - np.log(probabilities).mean(axis=0)])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with samples that it answers right, as its own answers are the labels."""
    folder = tmp_path_factory.mktemp("varied")
    model = build()
    images = np.random.default_rng(5).random((ROWS, 12, 12, 1), dtype=np.float32)
    balance(model.layers[-1], np.asarray(model(images)))
    model.export(folder / "saved_model", verbose=False)
    labels = np.asarray(model(images)).argmax(axis=1)
    np.savez_compressed(folder / samples.NAME, image=images, labels=labels)
    return folder


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node") / "cache"


def prepared(folder: Path, cache: Path, *, engine: str = "ONNXRuntime", **bounds: object) -> prepare.PreparedModel:
    raw: Mapping[str, object] = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": "digits",
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": folder.as_uri()},
        "engine": engine,
        "optimization": bounds,
    }
    given = config.parse(raw)
    assert given.optimization is not None
    wanted = given.optimization
    return prepare.prepare(
        given,
        None,
        config.Environment(cache_dir=cache, convert_s=3000),
        threads=1,
        load=lambda given, what, kept: engines.load(given.engine, what, kept, variants.vary(what, kept, wanted)),
    )


def with_its_conversion(made: Path, node: Path, cache: Path) -> Path:
    """A cache that has the conversion of the float model, and no variant."""
    prepared(made, node, **LOOSE)
    cache.mkdir()
    for path in node.glob(f"sha256-*/{conversion.NAME}"):
        shutil.copytree(path.parent, cache / path.parent.name)
    return cache


def entry(cache: Path) -> Path:
    (found,) = [path.parent for path in cache.glob(f"sha256-*/{record.NAME}")]
    return found


def never(*_: object, **__: object) -> None:
    raise AssertionError("the variants are made again")


LOOSE = {"accuracyFloor": {"maxDrop": 0.5}, "maxScoreChange": 1}


def test_the_best_variant_within_the_bounds_serves_and_is_made_once(
    made: Path, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(made, node, optimizeFor="Size", **LOOSE)
    assert first.variant is not None
    assert first.variant.reason is VariantReason.BEST, first.variant.why
    assert first.variant.name in first.model.kind
    kept = record.read(entry(node) / record.NAME)
    assert kept is not None
    assert isinstance(kept.result, record.Table)
    by_name = {each.name: each for each in kept.result.variants}
    assert kept.result.samples == 352
    assert by_name[FLOAT].correct == 352
    assert by_name[FLOAT].score_change == 0
    assert kept.result.unmade == ()
    for name, most in (("StaticInt8", 0.5), ("StructuredPruning50", 0.6), ("WeightClustering16", 0.5)):
        assert by_name[name].size_bytes < most * by_name[FLOAT].size_bytes, name
    monkeypatch.setattr(child, "run", never)
    second = prepared(made, node, optimizeFor="Size", **LOOSE)
    assert second.variant == first.variant
    images = np.random.default_rng(8).random((5, 12, 12, 1), dtype=np.float32)
    reference = loader.load(made, None, None, BOUNDS, threads=1)
    (expected,), (got,) = reference.predictor((images,)), second.model.predictor((images,))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 0.5


def test_other_bounds_judge_what_was_measured_before(made: Path, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(made, node, **LOOSE)
    monkeypatch.setattr(child, "run", never)
    served = prepared(made, node, optimizeFor="Size", accuracyFloor={"maxDrop": 0.5}, maxScoreChange=1e-9)
    assert served.variant is not None
    assert (served.variant.name, served.variant.reason) == (FLOAT, VariantReason.REFUSED)
    assert "StaticInt8: a score changes by" in served.variant.why
    assert served.model.kind == "ONNX Runtime, Float"


@pytest.mark.parametrize(
    "name",
    [record.NAME, *(pytest.param(each, marks=pytest.mark.nightly) for each in (record.ANSWERS, "StaticInt8.onnx.z"))],
)
def test_a_damaged_entry_is_made_again(made: Path, node: Path, name: str) -> None:
    bounds = {"techniques": ["StaticInt8"], "optimizeFor": "Size", **LOOSE}
    only = with_its_conversion(made, node, node.parent / f"damaged-{name}")
    first = prepared(made, only, **bounds)
    path = entry(only) / name
    before = path.read_bytes()
    path.write_bytes(before[:-20] + b"\xff" * 20)
    second = prepared(made, only, **bounds)
    assert first.variant is not None
    assert second.variant is not None
    assert second.variant.name == first.variant.name == "StaticInt8"


def test_without_samples_the_float_model_serves(made: Path, node: Path, tmp_path: Path) -> None:
    alone = prepared(made / "saved_model", node)
    assert alone.variant is not None
    assert (alone.variant.name, alone.variant.reason) == (FLOAT, VariantReason.NO_SAMPLES)
    assert "there is no file samples.npz beside the model" in alone.variant.why


def test_samples_that_do_not_fit_are_refused_with_the_reason(made: Path, node: Path, tmp_path: Path) -> None:
    real = shutil.copytree(made / "saved_model", tmp_path / "real" / "saved_model")
    given = {"image": np.zeros((20, 3), dtype=np.float32), "labels": np.zeros(20, dtype=int)}
    np.savez(real.parent / samples.NAME, **given)
    served = prepared(real.parent, node)
    assert served.variant is not None
    assert served.variant.reason is VariantReason.NO_SAMPLES
    assert "'image' has the shape [20, 3]; it must be [20, 12, 12, 1]" in served.variant.why


def test_a_model_that_stays_on_tensorflow_has_no_variants(models, node: Path) -> None:
    served = prepared(models.root / "counter", node)
    assert served.variant is not None
    assert (served.variant.name, served.variant.reason) == (FLOAT, VariantReason.NO_ENGINE)
    assert served.engine.engine is config.Engine.TENSORFLOW


def test_a_variant_that_ends_the_process_is_left_out_and_the_others_are_made(
    made: Path, node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = with_its_conversion(made, node, tmp_path / "cache")
    source = Path(making.__file__).read_text()
    (tmp_path / "killer").mkdir()
    code = source.replace("return quantizing.quantize_dynamic(self._model)", "import os; os.abort()")
    assert code != source
    (tmp_path / "killer" / "sitecustomize.py").write_text(
        "import sys, types\n"
        f"module = types.ModuleType('{making.__name__}')\n"
        f"module.__file__ = {making.__file__!r}\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name != module.__name__: return None\n"
        "        import importlib.util\n"
        "        return importlib.util.spec_from_loader(name, self)\n"
        "    def create_module(self, spec): return module\n"
        f"    def exec_module(self, made): exec({code!r}, made.__dict__)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "killer"))
    bounds = {"techniques": ["DynamicInt8", "WeightClustering"], "optimizeFor": "Size", **LOOSE}
    served = prepared(made, cache, **bounds)
    assert served.variant is not None
    assert served.variant.name.startswith("WeightClustering"), served.variant.why
    kept = json.loads((entry(cache) / record.NAME).read_text())
    why = "making it ended the process: the optimization was ended by signal 6"
    assert kept["result"]["unmade"] == [{"name": "DynamicInt8", "why": why, "is_chance": True}]
