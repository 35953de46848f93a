"""Real models through the loader: which way they are called, and which are refused."""

from __future__ import annotations

import dataclasses
import math
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from tests.support import made_once

from fairlead_runtime.config import ModelFormat
from fairlead_runtime.errors import LoadError, LoadReason
from fairlead_runtime.model import allowlist, keras_check, loader, merging, source, warmup
from fairlead_runtime.model.bounds import Bounds
from fairlead_runtime.model.cache import Cache
from fairlead_runtime.model.predictor import LoadedModel
from fairlead_runtime.model.signature import DType, Signature, TensorSpec, example_inputs

BOUNDS = Bounds(bytes_max=100_000_000)
RISKY = [
    "collective",
    "dataset",
    "debug",
    "glob",
    "hidden",
    "memory_map",
    "numpy",
    "print",
    "proto",
    "python",
    "queue",
    "read",
    "reader",
    "restore",
    "save",
    "summary",
    "vocabulary",
    "write",
]
pytestmark = pytest.mark.filterwarnings("ignore")


def load(path: Path, *, signature: str | None = None, wanted: ModelFormat | None = None) -> LoadedModel:
    return loader.load(path, wanted, signature, BOUNDS, threads=1)


def refused(path: Path, **kwargs: str | ModelFormat) -> LoadError:
    with pytest.raises(LoadError) as error:
        load(path, **kwargs)
    return error.value


def test_a_dense_saved_model_is_frozen_and_computes_what_it_should(models) -> None:
    model = load(models.root / "dense")
    assert model.kind == "frozen"
    x = np.array([[1, 0, 2, 0]], np.float32)
    logits = x @ (np.arange(12, dtype=np.float32).reshape(4, 3) / 10)
    (y,) = model.predictor((x,))
    np.testing.assert_allclose(y, np.exp(logits) / np.exp(logits).sum(), rtol=1e-5)


def test_the_signature_is_read_with_names_types_and_free_dimensions(models) -> None:
    signature = load(models.root / "dense", signature="total").signature
    (given,), (result,) = signature.inputs, signature.outputs
    assert (given.name, given.dtype, given.shape) == ("x", DType.FLOAT32, (None, 4))
    assert (result.name, result.shape) == ("sum", (None,))
    assert signature.is_batched


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_convolutions_and_loops_are_frozen_and_warm_up_at_each_batch_size(models, name: str) -> None:
    model = load(models.root / name)
    assert model.kind == "frozen", model.kind
    assert warmup.run(model, (1, 3)).speed.call_s.keys() == {1, 3}


@pytest.mark.parametrize("name", ["words", "counter"])
def test_models_with_tables_or_state_are_not_frozen(models, name: str) -> None:
    model = load(models.root / name)
    assert model.kind.startswith("function")
    first, second = (model.predictor(example_inputs(model.signature, 2))[0] for _ in range(2))
    if name == "counter":
        assert (second - first == 1).all()
    else:
        assert model.predictor((np.array([b"yes", b"x"], object),))[0].tolist() == [1, 0]


def test_a_keras_file_has_the_same_interface_as_a_saved_model(models) -> None:
    model = load(models.root / "dense.keras", wanted=ModelFormat.KERAS)
    assert [spec.name for spec in model.signature.inputs] == ["x"]
    assert model.predictor(example_inputs(model.signature, 3))[0].shape == (3, 3)


@pytest.mark.parametrize("packing", ["zip", "gztar"])
def test_a_keras_file_in_an_archive_is_served_as_keras(models, tmp_path: Path, packing: str) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    shutil.copy(models.root / "dense.keras", folder / "dense.keras")
    packed = Path(shutil.make_archive(str(tmp_path / "model"), packing, folder))
    fetched = source.fetch(packed.as_uri(), None, Cache(tmp_path / "cache", bytes_max=BOUNDS.bytes_max), BOUNDS)
    assert loader.check(fetched.path, ModelFormat.KERAS, None, BOUNDS).root.name == "dense.keras"


@pytest.mark.parametrize("name", RISKY)
def test_a_saved_model_with_a_risky_operation_is_refused_and_touches_nothing(models, name: str) -> None:
    folder = models.root / f"bad-{name}"
    assert folder.is_dir()
    assert refused(folder).reason is LoadReason.UNSAFE_MODEL
    assert models.canary.read_text() == made_once.CANARY


def test_the_refusal_names_the_operation(models) -> None:
    assert "ReadFile" in refused(models.root / "bad-read").sentence


def test_the_platform_can_allow_an_operation(models) -> None:
    allowed = dataclasses.replace(BOUNDS, operations=allowlist.parse_operations("ReadFile,PrintV2"))
    checked = loader.check(models.root / "bad-read", None, None, allowed)
    assert checked.signature is not None
    with pytest.raises(LoadError, match="not allowed: WriteFile"):
        loader.check(models.root / "bad-write", None, None, allowed)


@pytest.mark.parametrize("text", ["readFile", "ReadFile,", "A B", "A;B", ",".join(f"Op{n}" for n in range(65))])
def test_allowed_operations_are_checked_by_their_form(text: str) -> None:
    with pytest.raises(LoadError, match="FAIRLEAD_ALLOWED_OPERATIONS of the Ray node must be names") as error:
        allowlist.parse_operations(text)
    assert error.value.reason is LoadReason.NODE_MISCONFIGURED
    assert allowlist.parse_operations("") == frozenset()
    assert allowlist.parse_operations("Text>Split") == {"Text>Split"}


def test_an_unknown_signature_name_lists_the_available_ones(models) -> None:
    error = refused(models.root / "dense", signature="nope")
    assert error.reason is LoadReason.SIGNATURE_NOT_FOUND
    assert "'nope'" in error.sentence
    assert "'serving_default', 'total'" in error.sentence


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("picky", "only huge numbers here"),
        ("photos", "refuses a generated input of 1 row"),
        ("flowers", "width"),
        ("huge", "would take 1200000000 bytes"),
    ],
)
def test_a_model_that_refuses_the_generated_input_is_served_and_the_note_says_why(
    models, name: str, words: str
) -> None:
    warm = warmup.run(load(models.root / name), (1, 2))
    assert warm.example is None
    assert warm.refusal is not None
    assert words in warm.refusal
    assert warm.speed.single_s == math.inf, "an unknown speed must not be taken for a fast one"


@pytest.mark.parametrize("name", ["large", "larger", "any-size"])
def test_large_inputs_and_convolutions_over_free_sizes_are_warmed_up(models, name: str) -> None:
    warm = warmup.run(load(models.root / name), (1, 2))
    assert warm.refusal is None
    assert warm.speed.call_s.keys() == {1, 2}
    assert warm.example is not None


def test_a_model_is_never_called_with_an_example_too_large_for_memory(models) -> None:
    model = load(models.root / "huge")
    assert model.kind == "function (an example input would be too large for comparing the outputs)"
    assert merging.prove(model, single_s=0.0).why == "it accepted 0 trials, fewer than 3"


def test_convolutions_over_free_sizes_are_frozen(models) -> None:
    assert load(models.root / "any-size").kind == "frozen"


def test_a_model_that_takes_rows_of_different_lengths_is_served_with_a_note(models) -> None:
    model = load(models.root / "baskets")
    assert warmup.run(model, (1,)).refusal is not None
    by_name = {"values": np.arange(1, 6, dtype=np.float32), "splits": np.array([0, 2, 5], np.int64)}
    (mean,) = model.predictor(tuple(by_name[spec.name] for spec in model.signature.inputs))
    assert mean.tolist() == [1.5, 4.0]


def test_an_output_with_other_rows_than_the_example_is_a_note() -> None:
    spec = TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None,))
    signature = Signature(name="s", method="", inputs=(spec,), outputs=(spec,))
    model = LoadedModel(signature=signature, predictor=lambda inputs: (inputs[0][:0],), kind="empty")
    assert warmup.run(model, (1,)).refusal == "the output 'x' has the shape [0] for a generated input of 1 row"


def test_a_model_that_fails_by_itself_says_why(models) -> None:
    with pytest.raises(LoadError) as error:
        warmup.run(load(models.root / "headless"), (1,))
    assert error.value.reason is LoadReason.WARMUP_FAILED


def test_a_keras_file_is_found_beside_other_files_where_it_is_the_only_one(models, tmp_path: Path) -> None:
    shutil.copy(models.root / "dense.keras", tmp_path / "model.keras")
    (tmp_path / "evaluation.json").write_text("{}")
    assert loader.find_root(tmp_path) == tmp_path / "model.keras"
    shutil.copy(models.root / "dense.keras", tmp_path / "other.keras")
    assert refused(tmp_path).reason is LoadReason.MODEL_CORRUPT


def test_a_keras_file_that_was_compiled_is_loaded_without_its_training(models) -> None:
    model = load(models.root / "trained.keras")
    assert model.predictor(example_inputs(model.signature, 2))[0].shape == (2, 3)


def test_a_nested_model_is_checked_together_with_its_training_configuration(models) -> None:
    """Keras reads it, whatever it is asked for."""
    assert refused(models.root / "trained-inside.keras").reason is LoadReason.UNSAFE_MODEL


def version_folders(models, root: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(models.root / ("listwise" if name in ("1", "9", "v1") else "dense"), root / name)
    return root


def test_the_version_folder_with_the_highest_number_is_served_and_logged(
    models, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "11").mkdir()  # not written to its end
    root = version_folders(models, tmp_path, "1", "9", "10", "v1")
    model = load(root)
    assert [spec.name for spec in model.signature.outputs] == ["y"]
    assert model.folder == "10"
    assert "'10'" in caplog.text


def test_several_folders_without_numbers_are_refused(models, tmp_path: Path) -> None:
    error = refused(version_folders(models, tmp_path, "v1", "v2"))
    assert error.reason is LoadReason.MODEL_CORRUPT
    assert "'v1', 'v2'" in error.sentence
    assert "spec.model.uri" in error.sentence


def test_the_only_folder_is_served_whatever_its_name(models, tmp_path: Path) -> None:
    model = load(version_folders(models, tmp_path, "final"))
    assert model.folder == "final"
    assert load(models.root / "dense").folder is None


@pytest.mark.parametrize("name", ["lambda.keras", "module.keras", "registered.keras", "dense.h5"])
def test_a_keras_file_with_code_is_refused(models, name: str) -> None:
    assert refused(models.root / name).reason is LoadReason.UNSAFE_MODEL


def test_content_of_another_format_than_the_manifest_is_refused(models) -> None:
    assert refused(models.root / "dense", wanted=ModelFormat.KERAS).reason is LoadReason.FORMAT_MISMATCH


def test_damaged_models_are_corrupt_with_a_bounded_sentence(models, tmp_path: Path) -> None:
    whole = (models.root / "dense.keras").read_bytes()
    for i, raw in enumerate((b"", b"PK", whole[: len(whole) // 2], b"not a model at all" * 100)):
        path = tmp_path / f"{i}.keras"
        path.write_bytes(raw)
        error = refused(path)
        assert error.reason is LoadReason.MODEL_CORRUPT
        assert len(error.sentence) <= 400
    folder = tmp_path / "saved"
    folder.mkdir()
    assert refused(folder).reason is LoadReason.MODEL_CORRUPT
    (folder / "saved_model.pb").write_bytes(b"\xff\xff garbage")
    assert refused(folder).reason is LoadReason.MODEL_CORRUPT
    (folder / "saved_model.pb").write_bytes((models.root / "dense" / "saved_model.pb").read_bytes())
    assert refused(folder).reason is LoadReason.MODEL_CORRUPT


def test_refusals_come_before_tensorflow_is_imported(models) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from fairlead_runtime.errors import LoadError
        from fairlead_runtime.model import loader
        from fairlead_runtime.model.bounds import Bounds
        for name in ("bad-read", "lambda.keras", "dense.h5"):
            try:
                loader.load(Path({str(models.root)!r}) / name, None, None, Bounds(bytes_max=10**9), threads=1)
            except LoadError:
                continue
            sys.exit(f"{{name}} was loaded")
        print("tensorflow.python" in sys.modules, "keras" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_the_list_of_allowed_operations_is_sorted_and_has_no_file_operation() -> None:
    ops = allowlist.allowed_ops()
    assert len(ops) > 500
    assert not {op for op in ops if "File" in op or "Py" in op or "Print" in op or "Dataset" in op}


def test_keras_own_layers_pass_the_check(models) -> None:
    keras_check.check(models.root / "dense.keras", BOUNDS)


AFTER_PRELOAD = """
import pathlib, sys
from fairlead_ray_node import preload
preload.import_everything()
before = set(sys.modules)
from fairlead_runtime.model import bounds, loader
loaded = loader.load(pathlib.Path(sys.argv[1]), None, None, bounds.Bounds(bytes_max=10**8), threads=1)
assert loaded.kind == "frozen", loaded.kind
print([name for name in sorted(set(sys.modules) - before)])
"""


def test_a_forked_replica_loads_a_model_without_imports(models) -> None:
    command = [sys.executable, "-c", AFTER_PRELOAD, str(models.root / "dense")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
