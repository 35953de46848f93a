"""ONNX Runtime serves real models of TensorFlow only after it gave TensorFlow's answers; others stay, with a reason."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fairlead_runtime import config
from fairlead_runtime.config import Engine
from fairlead_runtime.model import engine as engines
from fairlead_runtime.model import loader, prepare
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.engine import EngineReason
from fairlead_runtime.model.explaining.shares import ShareReader
from fairlead_runtime.model.onnx import child, conversions, predictor, record, trials
from fairlead_runtime.model.onnx.convert import Request
from fairlead_runtime.model.predictor import InputRefusedError, ModelFailedError, Tensors
from fairlead_runtime.model.random_inputs import random_inputs

BOUNDS = Bounds(bytes_max=100_000_000)
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(900)]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of a node: what one test converted, the next one finds."""
    return tmp_path_factory.mktemp("node") / "cache"


def prepared(
    folder: Path,
    cache: Path,
    *,
    engine: str,
    signature: str | None = None,
    batch_sizes: Sequence[int] = (),
    **settings: object,
) -> prepare.PreparedModel:
    raw = {
        "schemaVersion": 1,
        "namespace": "default",
        "model": "digits",
        "revision": "a" * 10,
        "revisionNumber": 1,
        "source": {"uri": folder.as_uri(), "signature": signature},
        "engine": engine,
        "warmup": {"batchSizes": list(batch_sizes)},
    }
    environment = config.Environment.model_validate({"cache_dir": cache, **settings})
    return prepare.prepare(config.parse(raw), None, environment, threads=1)


def never(*_: object, **__: object) -> None:
    raise AssertionError("the model is converted again")


def conversion(cache: Path) -> Path:
    """The folder of the only conversion in a cache."""
    (found,) = [path.parent for path in cache.glob("sha256-*/record.json")]
    return found


def rewrite(cache: Path, change: dict[str, object]) -> None:
    """Changes what a conversion's record says."""
    path = conversion(cache) / record.NAME
    kept = json.loads(path.read_text())
    kept["result"].update(change)
    path.write_text(json.dumps(kept))


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("dense", None),
        pytest.param("dense.keras", None, marks=pytest.mark.nightly),
        pytest.param("cnn", None, marks=pytest.mark.nightly),
        pytest.param("any-size", None, marks=pytest.mark.nightly),
        ("lstm", None),
        pytest.param("lstm-dropout", None, marks=pytest.mark.nightly),
        pytest.param("normalized", None, marks=pytest.mark.nightly),
        ("engines", "blanks"),
        ("engines", "lookup"),
        pytest.param("engines", "marked", marks=pytest.mark.nightly),
        pytest.param("engines", "counted", marks=pytest.mark.nightly),
    ],
)
def test_onnx_runtime_gives_tensorflows_answers(models, node: Path, name: str, signature: str | None) -> None:
    served = prepared(models.root / name, node, engine="ONNXRuntime", signature=signature)
    assert served.engine.engine is Engine.ONNX_RUNTIME, served.engine.why
    assert served.engine.reason is EngineReason.REQUESTED
    reference = loader.load(models.root / name, None, signature, BOUNDS, threads=1)
    assert served.model.signature == reference.signature
    generator = np.random.default_rng(5)
    for rows in (1, 5):
        inputs = random_inputs(reference.signature, rows, generator, spread=2.0, free=32)
        expected = trials.answer(reference.predictor, inputs)
        assert not isinstance(expected, trials.Refused)
        assert trials.is_same(expected, trials.answer(served.model.predictor, inputs))


def test_a_row_has_the_same_shares_by_both_engines(models, node: Path) -> None:
    """So the reference attributions, which TensorFlow makes, hold for a replica with ONNX Runtime."""
    served = prepared(models.root / "dense", node, engine="ONNXRuntime").model
    reference = loader.load(models.root / "dense", None, None, BOUNDS, threads=1)
    by_onnx, by_tensorflow = (ShareReader(each, 0, (0.5,) * 4, shares_calls=True) for each in (served, reference))
    rows = np.random.default_rng(5).random((8, 4), dtype=np.float32)
    for i in range(len(rows)):
        found, expected = (each.read(rows[i : i + 1], lambda: True) for each in (by_onnx, by_tensorflow))
        np.testing.assert_allclose(found, expected, atol=1e-4)


CHANGED = "may depend on the variable 'Variable', which its calls change"


@pytest.mark.parametrize(
    ("name", "signature", "why"),
    [
        pytest.param("words", None, "holds strings", marks=pytest.mark.nightly),
        ("counter", None, CHANGED),
        ("engines", "branch", "has branches (StatelessIf)"),
        pytest.param(
            "engines",
            "tired",
            "may depend on the variable 'Variable', which its calls change",
            marks=pytest.mark.nightly,
        ),
        pytest.param("engines", "asserted", "(Assert)", marks=pytest.mark.nightly),
        pytest.param("engines", "halved", "it divides whole numbers (FloorDiv)", marks=pytest.mark.nightly),
        pytest.param("engines", "left_over", "it divides whole numbers (FloorMod)", marks=pytest.mark.nightly),
        pytest.param("picky", None, "(Assert)", marks=pytest.mark.nightly),
    ],
)
def test_what_cannot_be_converted_stays_on_tensorflow_and_says_why(
    models, node: Path, name: str, signature: str | None, why: str
) -> None:
    served = prepared(models.root / name, node, engine="ONNXRuntime", signature=signature)
    assert served.engine.engine is Engine.TENSORFLOW
    assert served.engine.reason is EngineReason.NOT_CONVERTED
    assert why in served.engine.why
    assert "ONNX" not in served.model.kind


@pytest.mark.parametrize("index", [-1, -11, 10, -(2**31), 2**31 - 1])
def test_an_index_that_tensorflow_refuses_is_refused(models, node: Path, index: int) -> None:
    served = prepared(models.root / "engines", node, engine="ONNXRuntime", signature="lookup")
    with pytest.raises(InputRefusedError, match="an index is outside the table"):
        served.model.predictor((np.array([[0, 1, index]], dtype=np.int32),))


def test_an_index_that_does_not_exist_marks_no_class(models, node: Path) -> None:
    served = prepared(models.root / "engines", node, engine="ONNXRuntime", signature="marked")
    assert served.engine.engine is Engine.ONNX_RUNTIME, served.engine.why
    ids = np.array([[-1, 0, 0], [-5, 0, 0], [5, 0, 0], [-(2**31), 0, 0], [4, 0, 0]], dtype=np.int32)
    (marked,) = served.model.predictor((ids,))
    assert marked.tolist() == [[0.0] * 5] * 4 + [[0.0, 0.0, 0.0, 0.0, 1.0]]


def test_a_model_is_converted_once_for_each_content(models, node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(models.root / "dense", node, engine="Auto")
    prepared(models.root / "engines", node, engine="ONNXRuntime", signature="branch")
    monkeypatch.setattr(child, "run", never)
    for engine in ("ONNXRuntime", "Auto"):
        served = prepared(models.root / "dense", node, engine=engine)
        assert served.engine.reason is not EngineReason.NOT_CONVERTED
    refused = prepared(models.root / "engines", node, engine="Auto", signature="branch")
    assert "has branches" in refused.engine.why


def test_a_model_that_only_onnx_runtime_fails_on_in_the_warm_up_is_served_by_tensorflow(
    models, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = predictor.OnnxPredictor.__call__

    def fail_on_11_rows(self: predictor.OnnxPredictor, inputs: Tensors) -> Tensors:
        if len(inputs[0]) == 11:
            raise ModelFailedError("a kernel failed")
        return call(self, inputs)

    monkeypatch.setattr(predictor.OnnxPredictor, "__call__", fail_on_11_rows)
    served = prepared(models.root / "dense", node, engine="ONNXRuntime", batch_sizes=[11])
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_EQUAL)
    assert "fails on a batch of 11: a kernel failed" in served.engine.why
    assert served.model.kind == "frozen"
    assert set(served.warm_up.speed.call_s) == {1, 11}


def test_with_the_engine_tensorflow_nothing_is_converted(
    models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "run", never)
    served = prepared(models.root / "dense", tmp_path / "cache", engine="TensorFlow")
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.REQUESTED)
    assert served.model.kind == "frozen"


def test_a_replica_of_a_converted_model_never_loads_tensorflow(models, node: Path) -> None:
    prepared(models.root / "dense", node, engine="ONNXRuntime")
    program = f"""
import sys
from pathlib import Path
from fairlead_runtime import config
from fairlead_runtime.model import prepare
raw = {{"schemaVersion": 1, "namespace": "default", "model": "digits", "revision": "a", "revisionNumber": 1,
        "source": {{"uri": {(models.root / "dense").as_uri()!r}}}, "engine": "ONNXRuntime"}}
found = prepare.prepare(config.parse(raw), None, config.Environment(cache_dir=Path({str(node)!r})), threads=1)
assert found.model.kind == "ONNX Runtime", found.engine
libraries = [line.split()[-1] for line in open("/proc/self/maps") if "libtensorflow" in line]
assert libraries == [] and "keras" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@dataclasses.dataclass
class Converted:
    """The cache of a node whose one replica has chosen its engine by the times of both, and that replica's model."""

    cache: Path
    served: prepare.PreparedModel


@pytest.fixture(scope="module")
def converted(models, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    cache = tmp_path_factory.mktemp("converted") / "cache"
    return Converted(cache, prepared(models.root / "dense", cache, engine="Auto"))


def test_the_faster_engine_serves_where_both_give_the_same_answers(
    models, converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = shutil.copytree(converted.cache, tmp_path / "cache")
    monkeypatch.setattr(child, "run", never)
    slower = {"rows": 1, "tensorflow_s": 1e-5, "onnx_s": 2e-5}
    faster = {"rows": 32, "tensorflow_s": 1e-3, "onnx_s": 1e-4}
    rewrite(cache, {"measured": [slower, faster]})
    served = prepared(models.root / "dense", cache, engine="Auto")
    assert (served.engine.engine, served.engine.reason) == (Engine.ONNX_RUNTIME, EngineReason.FASTER)
    assert "20 µs against 10 µs for 1 row" in served.engine.why
    rewrite(cache, {"measured": [slower]})
    served = prepared(models.root / "dense", cache, engine="Auto")
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_FASTER)
    assert prepared(models.root / "dense", cache, engine="ONNXRuntime").engine.engine is Engine.ONNX_RUNTIME
    # A damaged file is never opened: the model is converted again.
    (conversion(cache) / record.MODEL).write_bytes(b"\x08\x09 no ONNX")
    with pytest.raises(AssertionError, match="converted again"):
        prepared(models.root / "dense", cache, engine="ONNXRuntime")


def test_each_start_asks_for_tensorflows_answers_again(
    models, converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = shutil.copytree(converted.cache, tmp_path / "cache")
    monkeypatch.setattr(child, "run", never)
    path = conversion(cache) / record.ANSWERS
    with np.load(path) as kept:
        changed = {name: kept[name] + np.float32(0.001) for name in kept.files}
    np.savez(path, **changed)
    kept_files = json.loads((conversion(cache) / record.NAME).read_text())["result"]["files"]
    rewrite(cache, {"files": {**kept_files, record.ANSWERS: hashlib.sha256(path.read_bytes()).hexdigest()}})
    compared: list[trials.Answer] = []
    answer = trials.answer
    monkeypatch.setattr(trials, "answer", lambda *given: compared.append(found := answer(*given)) or found)
    served = prepared(models.root / "dense", cache, engine="ONNXRuntime")
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_EQUAL)
    assert "differ by up to 0.001" in served.engine.why
    assert len(compared) == 1


def test_a_start_compares_one_answer_at_least_and_no_longer_than_it_may(
    models, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(models.root / "dense", node, engine="ONNXRuntime")
    compared: list[trials.Answer] = []
    answer = trials.answer
    monkeypatch.setattr(trials, "answer", lambda *given: compared.append(found := answer(*given)) or found)
    monkeypatch.setattr(engines, "COMPARE_S", 0.0)
    served = prepared(models.root / "dense", node, engine="ONNXRuntime")
    assert served.engine.engine is Engine.ONNX_RUNTIME
    assert len(compared) == 1


def test_times_are_measured_only_where_they_choose_the_engine(models, converted: Converted, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    prepared(models.root / "dense", cache, engine="ONNXRuntime")
    kept = json.loads((conversion(cache) / record.NAME).read_text())["result"]
    assert kept["outcome"] == "Converted"
    assert kept["measured"] == []
    assert "for 32 rows" in converted.served.engine.why


def test_a_conversion_that_takes_too_long_is_not_tried_again_for_some_time(
    models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_long(asked: Request, **_: object) -> None:
        why = "the conversion took longer than 240.0 s (FAIRLEAD_CONVERT_SECONDS)"
        raise child.TookTooLongError(why, seconds=asked.seconds)

    cache = tmp_path / "cache"
    monkeypatch.setattr(child, "run", too_long)
    prepared(models.root / "dense", cache, engine="Auto")
    monkeypatch.setattr(child, "run", never)
    for engine in ("Auto", "ONNXRuntime"):
        served = prepared(models.root / "dense", cache, engine=engine)
        assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_CONVERTED)
        assert "took longer than 240.0 s" in served.engine.why
    rewrite(cache, {"until_s": time.time() - 1})
    with pytest.raises(AssertionError, match="converted again"):
        prepared(models.root / "dense", cache, engine="Auto")


def test_waiting_counts_in_the_limit_of_a_conversion(models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ended after it waited for another conversion had less than its time, so the next start tries again."""
    cache = tmp_path / "cache"
    given_s: list[float] = []
    is_held = threading.Event()

    def too_long(asked: Request, **_: object) -> None:
        given_s.append(asked.seconds)
        raise child.TookTooLongError("it took too long", seconds=asked.seconds)

    def convert_another() -> None:
        with Cache(cache, bytes_max=2**30).exclusive(conversions.ONE_AT_A_TIME, 1):
            is_held.set()
            time.sleep(5)

    monkeypatch.setattr(child, "run", too_long)
    other = threading.Thread(target=convert_another)
    other.start()
    assert is_held.wait(60)
    served = prepared(models.root / "dense", cache, engine="ONNXRuntime", convert_s=20)
    other.join()
    assert served.engine.reason is EngineReason.NOT_CONVERTED
    assert given_s[0] < 20
    assert list(cache.glob("sha256-*/record.json")) == []


def test_without_room_in_memory_nothing_is_converted_and_the_next_start_tries_again(
    models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversions, "LEAST_BYTES", 2**60)
    monkeypatch.setattr(child, "run", never)
    served = prepared(models.root / "dense", tmp_path / "cache", engine="ONNXRuntime")
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_CONVERTED)
    assert "of free memory" in served.engine.why
    assert list((tmp_path / "cache").glob("sha256-*/record.json")) == []


def test_a_node_converts_one_model_at_a_time(models, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Cache(cache, bytes_max=2**30).exclusive(conversions.ONE_AT_A_TIME, 1):
        served = prepared(models.root / "dense", cache, engine="ONNXRuntime", convert_s=0.2)
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_CONVERTED)
    assert "still converting another model" in served.engine.why


def test_a_conversion_without_enough_memory_ends_and_the_next_start_tries_again(models, tmp_path: Path) -> None:
    served = prepared(models.root / "dense", tmp_path / "cache", engine="ONNXRuntime", convert_bytes=64 * 1024 * 1024)
    assert (served.engine.engine, served.engine.reason) == (Engine.TENSORFLOW, EngineReason.NOT_CONVERTED)
    assert "conversion" in served.engine.why
    assert list((tmp_path / "cache").glob("sha256-*/record.json")) == []
    assert served.model.kind == "frozen"
