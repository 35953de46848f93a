"""The samples beside a model are a tenant's file: what is not of the form is refused in a sentence, within bounds."""

from __future__ import annotations

import dataclasses
import errno
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fairlead_runtime.model.signature import DType, Signature, TensorSpec
from fairlead_runtime.optimization import samples

SIGNATURE = Signature(
    name="serving_default",
    method="predict",
    inputs=(TensorSpec(name="x", dtype=DType.FLOAT32, shape=(None, 3)),),
    outputs=(TensorSpec(name="y", dtype=DType.FLOAT32, shape=(None, 2)),),
)
ROWS = np.arange(90, dtype=np.float32).reshape(30, 3)
LABELS = np.arange(30) % 2


def pack(folder: Path, **entries: bytes) -> Path:
    path = folder / samples.NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in entries.items():
            packed.writestr(f"{name}.npy", content)
    return path


def npy(array: np.ndarray, *, shape: tuple[int, ...] | None = None) -> bytes:
    """An array, with another shape in its head where one is given."""
    file = io.BytesIO()
    head = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(file, {**head, "shape": shape or array.shape})
    return file.getvalue() + array.tobytes()


def test_a_third_of_the_rows_is_for_calibration_and_never_judged_by(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / samples.NAME, x=ROWS, labels=LABELS, other=np.zeros(3))
    found = samples.read(tmp_path / samples.NAME, SIGNATURE)
    inputs, labels = found.judged()
    assert found.calibration_rows == 10
    assert len(found.calibration()[0]) == 10
    both = np.concatenate([found.calibration()[0], inputs[0]])
    assert sorted(map(tuple, both.tolist())) == sorted(map(tuple, ROWS.tolist()))
    # Each row has kept its label.
    assert np.array_equal(found.labels, LABELS[(both[:, 0] / 3).astype(int)])
    assert np.array_equal(found.labels[10:], labels)


def test_rows_in_the_order_of_their_classes_are_mixed(tmp_path: Path) -> None:
    np.savez(tmp_path / samples.NAME, x=ROWS, labels=np.repeat([0, 1], 15))
    found = samples.read(tmp_path / samples.NAME, SIGNATURE)
    assert set(found.labels[: found.calibration_rows].tolist()) == {0, 1}
    assert np.bincount(found.judged()[1]).min() >= 5


def test_an_input_with_the_name_of_the_labels_is_refused(tmp_path: Path) -> None:
    spec = TensorSpec(name="labels", dtype=DType.INT64, shape=(None,))
    np.savez(tmp_path / samples.NAME, labels=LABELS)
    with pytest.raises(samples.UnusableSamplesError, match="has an input 'labels'"):
        samples.read(tmp_path / samples.NAME, dataclasses.replace(SIGNATURE, inputs=(spec,)))


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"x": ROWS}, "has no array 'labels'"),
        ({"labels": LABELS}, "has no array 'x'"),
        ({"x": ROWS[:9], "labels": LABELS[:9]}, "has 9 rows; it must have from 10 to 4096"),
        ({"x": ROWS, "labels": LABELS - 1}, "a label is not from 0"),
        (
            {"x": ROWS, "labels": LABELS + 0.5},
            r"'labels' has the shape \[30\] and the type float64; it must hold",
        ),
        ({"x": ROWS, "labels": LABELS[:, None]}, r"'labels' has the shape \[30, 1\] and the type int"),
        ({"x": ROWS[:20], "labels": LABELS}, r"'x' has the shape \[20, 3\]; it must be \[30, 3\]"),
        ({"x": ROWS[:, :2], "labels": LABELS}, r"'x' has the shape \[30, 2\]"),
        ({"x": ROWS.astype(np.float64), "labels": LABELS}, "has the type float64; it must be float32"),
        ({"x": np.array(["a"] * 30), "labels": LABELS}, "has the type <U1; save it as an array of numbers"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], why: str) -> None:
    np.savez(tmp_path / samples.NAME, **arrays)
    with pytest.raises(samples.UnusableSamplesError, match=why):
        samples.read(tmp_path / samples.NAME, SIGNATURE)


def test_an_error_of_the_disk_is_no_word_about_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / samples.NAME, x=ROWS, labels=LABELS)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(zipfile.ZipFile, "open", fail)
    with pytest.raises(OSError, match="Input/output error"):
        samples.read(tmp_path / samples.NAME, SIGNATURE)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / samples.NAME, x=np.array([{}] * 30, dtype=object), labels=LABELS)
    with pytest.raises(samples.UnusableSamplesError, match="has the type object"):
        samples.read(tmp_path / samples.NAME, SIGNATURE)


def test_a_head_that_claims_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    path = pack(tmp_path, x=npy(ROWS, shape=(2**40, 3)), labels=npy(LABELS))
    with pytest.raises(samples.UnusableSamplesError, match="but 360 bytes"):
        samples.read(path, SIGNATURE)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{'descr'", b"\x93NUMPY\x09\x00", b"x" * 99]
)
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes) -> None:
    path = pack(tmp_path, x=content, labels=npy(LABELS))
    with pytest.raises(samples.UnusableSamplesError, match="'x'"):
        samples.read(path, SIGNATURE)


def test_an_archive_that_unpacks_to_more_than_its_bound_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "ARRAYS_BYTES_MAX", 1_000_000)
    path = pack(tmp_path, x=npy(np.zeros((400_000, 3), dtype=np.float32)), labels=npy(LABELS))
    assert path.stat().st_size < 20_000
    with pytest.raises(samples.UnusableSamplesError, match=r"holds 48.* bytes of arrays; at most 1000000"):
        samples.read(path, SIGNATURE)


def test_a_file_that_is_no_archive_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / samples.NAME
    path.write_bytes(b"no archive" * 100)
    with pytest.raises(samples.UnusableSamplesError, match="is no archive"):
        samples.read(path, SIGNATURE)
    monkeypatch.setattr(samples, "FILE_BYTES_MAX", 999)
    with pytest.raises(samples.UnusableSamplesError, match="has 1000 bytes; at most 999"):
        samples.read(path, SIGNATURE)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / samples.NAME, x=ROWS, labels=LABELS)
    path = tmp_path / samples.NAME
    content = bytearray(path.read_bytes())
    content[60:100] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(samples.UnusableSamplesError):
        samples.read(path, SIGNATURE)


def test_a_damaged_archive_of_lzma_or_with_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / samples.NAME
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("labels.npy", npy(LABELS))
        packed.writestr("é.npy", npy(ROWS))
    content = path.read_bytes()
    path.write_bytes(content[:49] + b"\xff" * 30 + content[79:])
    with pytest.raises(samples.UnusableSamplesError, match="is no archive"):
        samples.read(path, SIGNATURE)
    path.write_bytes(content.replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(samples.UnusableSamplesError, match="is no archive"):
        samples.read(path, SIGNATURE)


@pytest.mark.parametrize(("rows", "shape"), [(ROWS[:0], (0, 2**70)), (ROWS[:4, 0], (True, 4)), (ROWS[:0], (0, 3))])
def test_a_shape_that_no_array_has_is_refused(tmp_path: Path, rows: np.ndarray, shape: tuple[int, ...]) -> None:
    path = pack(tmp_path, x=npy(rows, shape=shape), labels=npy(LABELS))
    with pytest.raises(samples.UnusableSamplesError, match="'x' has the shape"):
        samples.read(path, SIGNATURE)
