"""The evaluation record: its interval, and which files are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead_runtime.model import digest, evaluation_record
from fairlead_runtime.model.evaluation_record import EvaluationRecord, Found, Outcome, UnreadableRecordError

DIGEST = "sha256:" + "0" * 64


def document(**changes: Any) -> dict[str, Any]:
    interval = evaluation_record.wilson(9, 10)
    return {
        "schemaVersion": 1,
        "metric": "Accuracy",
        "value": 0.9,
        "interval": {"method": "Wilson", "level": 0.95, "low": interval.low, "high": interval.high},
        "samples": 10,
        "correct": 9,
        "signature": "serving_default",
        "modelDigest": DIGEST,
        "data": {"name": "heldout.npz", "digest": DIGEST},
        "classes": [{"label": 0, "name": "0", "samples": 10, "correct": 9, "predicted": 9}],
        "versions": {"tensorflow": "2.21.0"},
        **changes,
    }


def read(tmp_path: Path, content: bytes) -> EvaluationRecord:
    path = tmp_path / evaluation_record.NAME
    path.write_bytes(content)
    return evaluation_record.read(path)


@pytest.mark.parametrize(
    ("correct", "samples", "low", "high"),
    [
        # The bounds are the roots of (p - share)² = z² p (1 - p) / n, which the test checks as well.
        pytest.param(0, 10, 0.0, 0.277533, id="none of ten"),
        pytest.param(10, 10, 0.722467, 1.0, id="ten of ten"),
        pytest.param(9, 10, 0.595850, 0.982124, id="nine of ten"),
        pytest.param(341, 360, 0.919046, 0.965955, id="as the digits have it"),
    ],
)
def test_the_interval_is_wilsons(correct: int, samples: int, low: float, high: float) -> None:
    interval = evaluation_record.wilson(correct, samples)
    z2 = 1.959963984540054**2
    share = correct / samples
    for bound in (interval.low, interval.high):
        if 0 < bound < 1:
            assert (bound - share) ** 2 == pytest.approx(z2 * bound * (1 - bound) / samples, abs=1e-12)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=2e-6), pytest.approx(high, abs=2e-6))


def test_what_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    record = EvaluationRecord.model_validate(document())
    assert read(tmp_path, evaluation_record.dump(record).encode()) == record
    assert json.loads(evaluation_record.dump(record)) == {**document(), "classesLeftOut": 0}


def test_a_field_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    assert read(tmp_path, json.dumps(document(calibration={"ece": 0.1})).encode()).samples == 10


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"schemaVersion": 2}, "schemaVersion", id="another schema"),
        pytest.param({"metric": "Beauty"}, "metric", id="an unknown metric"),
        pytest.param({"value": 0.99}, "value 0.99 is not correct / samples", id="a value that its counts don't give"),
        pytest.param({"correct": 11}, "correct / samples", id="more right than there are"),
        pytest.param({"samples": 0}, "samples", id="no samples"),
        pytest.param({"modelDigest": "sha256:12"}, "modelDigest", id="no digest"),
        pytest.param(
            {"interval": {"method": "Wilson", "level": 0.95, "low": 0.89, "high": 0.91}},
            "9 of 10 give 0.595850 to 0.982124",
            id="an interval that its counts don't give",
        ),
        pytest.param({"interval": {"level": 0.5, "low": 0.8, "high": 1}}, "interval.level", id="another level"),
        pytest.param({"classes": [{}] * 1001}, "classes", id="too many classes"),
        pytest.param({"versions": {str(n): "1" for n in range(33)}}, "versions", id="too many versions"),
    ],
)
def test_a_file_that_is_no_record_is_refused_by_the_field(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnreadableRecordError, match=named):
        read(tmp_path, json.dumps(document(**changes)).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"value": NaN}'])
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnreadableRecordError, match=r"evaluation\.json"):
        read(tmp_path, content)


def test_a_file_beyond_its_bound_is_not_read_whole(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRecordError, match="larger than 1048576 bytes"):
        read(tmp_path, b" " * (evaluation_record.BYTES_MAX + 1))


def beside(tmp_path: Path, text: str | None) -> Found:
    """What is found beside a model whose folder has a file."""
    model = tmp_path / "content" / "saved_model"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    if text is not None:
        (model.parent / evaluation_record.NAME).write_text(text.replace(DIGEST, digest.hash_path(model), 1))
    return evaluation_record.find(model.parent, model)


def test_a_record_of_this_model_is_found_beside_it(tmp_path: Path) -> None:
    record = EvaluationRecord.model_validate(document(modelDigest=DIGEST))
    text = evaluation_record.dump(record)
    found = beside(tmp_path, text)
    assert (found.outcome, found.message) == (Outcome.READ, "")
    assert found.record is not None
    assert found.record.value == 0.9


def test_a_record_of_another_model_does_not_count(tmp_path: Path) -> None:
    other = "sha256:" + "1" * 64
    found = beside(tmp_path, json.dumps(document(modelDigest=other, data={"name": "x", "digest": other})))
    assert (found.outcome, found.record) == (Outcome.OTHER_MODEL, None)
    assert f"is of a model with the digest {other}, but this model has sha256:" in found.message


@pytest.mark.parametrize("text", ["", "{", '{"schemaVersion": 1}', " " * (evaluation_record.BYTES_MAX + 1)])
def test_wrong_content_is_a_note(tmp_path: Path, text: str) -> None:
    found = beside(tmp_path, text)
    assert (found.outcome, found.record) == (Outcome.UNREADABLE, None)
    assert found.message.startswith("evaluation.json")
    assert len(found.message) <= 400


def test_a_folder_in_its_place_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "content" / evaluation_record.NAME).mkdir(parents=True)
    assert beside(tmp_path, None).outcome is Outcome.UNREADABLE


def test_without_a_file_there_is_no_record(tmp_path: Path) -> None:
    assert beside(tmp_path, None) == evaluation_record.NOTHING


def test_a_model_that_is_all_of_the_content_has_nothing_beside_it(tmp_path: Path) -> None:
    """The folder around it is the cache's, which any model of the node may write."""
    model = tmp_path / "model.keras"
    model.write_bytes(b"PK")
    (tmp_path / evaluation_record.NAME).write_text(json.dumps(document()))
    found = evaluation_record.find(model, model)
    assert found.outcome is Outcome.ABSENT
    assert "spec.model.uri names the model alone" in found.message
