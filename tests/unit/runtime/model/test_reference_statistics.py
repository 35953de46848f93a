"""Reference statistics: which files beside a model are used, and what is said of the others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.support import replica_parts

from fairlead_runtime.model import evaluation_record, reference_statistics
from fairlead_runtime.model.evaluation_record import EvaluationRecord, Outcome
from fairlead_runtime.model.reference_statistics import Found

DIGEST = "sha256:" + "0" * 64
SIGNATURE = replica_parts.float_signature()


def document(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "modelDigest": DIGEST,
        "signature": "serving_default",
        "features": [
            {"name": "input0_0", "edges": [0.0, 1.5], "counts": [5, 5, 3, 1]},
            {"name": "score", "edges": [], "counts": [14, 0]},
        ],
        "predicted": {"classes": [0, 7], "counts": [10, 3, 1]},
        "inputs": {"x": {"values": {"count": 56}}},
        **changes,
    }


def evaluation(digest: str = DIGEST) -> evaluation_record.Found:
    record = EvaluationRecord(
        metric=evaluation_record.Metric.ACCURACY,
        value=0.9,
        interval=evaluation_record.wilson(9, 10),
        samples=10,
        correct=9,
        signature="serving_default",
        model_digest=digest,
        data=evaluation_record.Data(name="heldout.npz", digest=DIGEST),
    )
    return evaluation_record.Found(outcome=Outcome.READ, record=record)


def find(
    folder: Path, content: bytes | None, known: evaluation_record.Found | None = None, *, rows: int | None = None
) -> Found:
    if content is not None:
        (folder / "statistics.json").write_bytes(content)
    signature = replica_parts.float_signature(rows=rows)
    return reference_statistics.find(folder, folder / "saved_model", signature, known or evaluation())


def test_each_feature_becomes_a_sketch_of_its_bins(tmp_path: Path) -> None:
    found = find(tmp_path, json.dumps(document()).encode())
    assert (found.outcome, found.message) == (Outcome.READ, "")
    assert found.statistics is not None
    number, score, predicted = found.statistics.sketches()
    for value in (-5.0, 0.0, 0.1, 1.5, 1.6, math.inf, math.nan):
        number.add(value)
    assert (number.feature, number.bins) == ("input0_0", ("00", "01", "02", "NotFinite"))
    assert (number.reference, number.counts) == ((5, 5, 3, 1), [2, 2, 1, 2])
    assert (score.feature, score.bins) == ("score", ("00", "NotFinite"))
    for value in (7, 7, 3):
        predicted.add(value)
    assert (predicted.feature, predicted.bins, predicted.counts) == ("class", ("0", "7", "Other"), [0, 2, 1])


def feature(**changes: Any) -> dict[str, Any]:
    return {"features": [{"name": "input0_0", "edges": [0.0, 1.5], "counts": [5, 5, 3, 1], **changes}]}


def attributions(**changes: Any) -> dict[str, Any]:
    return {"attributions": {"baselines": [0, 0, 0, 0], "shares": [1, 2, 3, 4, 0], **changes}}


def test_the_sketch_of_attributions_has_a_bin_for_each_part_and_one_for_nothing(tmp_path: Path) -> None:
    found = find(tmp_path, json.dumps(document(**attributions())).encode())
    assert (found.outcome, found.message) == (Outcome.READ, "")
    assert found.statistics is not None
    sketch = found.statistics.attribution_sketch()
    assert sketch is not None
    sketch.add([0.25, 0.75, 0, 0, 0])
    assert sketch.bins == ("00", "01", "02", "03", "Nothing")
    assert (sketch.reference, sketch.counts) == ((1, 2, 3, 4, 0), [0.25, 0.75, 0, 0, 0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(feature(edges=[1.5, 0.0]), "edges of input0_0 must grow", id="edges that fall"),
        pytest.param(feature(counts=[1, 2]), "counts of input0_0 has 2 entries, not 4", id="too few counts"),
        pytest.param(feature(counts=[0, 0, 0, 0]), "counts no row", id="no rows"),
        pytest.param(feature(counts=[-1, 2, 3, 4]), "features.0.counts.0", id="a negative count"),
        pytest.param(feature(edges=list(range(40)), counts=[1] * 42), "at most 32 items", id="too many edges"),
        pytest.param(feature(name='"x\n'), "features.0.name", id="a name that is no label"),
        pytest.param(feature(name="input0_4"), "the feature input0_4, which rows of this model", id="a fifth column"),
        pytest.param(feature(name="input1_mean"), "the feature input1_mean", id="a second input"),
        pytest.param({"features": feature()["features"] * 2}, "different names", id="a feature twice"),
        pytest.param({"features": feature()["features"] * 20}, "at most 17 items", id="too many features"),
        pytest.param({"predicted": {"classes": [1, 1], "counts": [1, 1, 1]}}, "must differ", id="a class twice"),
        pytest.param({"predicted": {"classes": [], "counts": [1]}}, "predicted.classes", id="no class"),
        pytest.param(feature(name="input0_unknown"), "input0_unknown has no vocabulary", id="no vocabulary"),
        pytest.param({"vocabularies": [{"input": 0, "words": [2**32]}]}, "vocabularies.0.words.0", id="no word"),
        pytest.param({"vocabularies": [{"input": 0, "words": [1] * 5000}]}, "at most 4096", id="too many words"),
        pytest.param(attributions(shares=[1, 2]), "shares has 2 entries, not 5", id="too few shares"),
        pytest.param(attributions(shares=[0] * 5), "shares are of no row", id="shares of no row"),
        pytest.param(attributions(shares=[-1, 1, 1, 1, 1]), "attributions.shares.0", id="a negative share"),
        pytest.param(attributions(baselines=[0] * 65, shares=[1] * 66), "at most 64 items", id="too many parts"),
        pytest.param(
            attributions(baselines=[0] * 3, shares=[1] * 4),
            "attributions of 3 parts, which rows of this model don't have",
            id="another number of parts",
        ),
        pytest.param(feature(name="attribution"), "none of them 'class' or 'attribution'", id="a reserved name"),
        pytest.param({"schemaVersion": 2}, "schemaVersion", id="another version"),
    ],
)
def test_a_file_that_is_wrong_is_not_used_and_the_field_is_named(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    found = find(tmp_path, json.dumps(document(**changes)).encode())
    assert (found.outcome, found.statistics) == (Outcome.UNREADABLE, None)
    assert words in found.message
    assert "\n" not in found.message


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b" " * (reference_statistics.BYTES_MAX + 1)])
def test_a_file_that_is_no_json_object_or_too_large_is_not_used(tmp_path: Path, content: bytes) -> None:
    assert find(tmp_path, content).outcome is Outcome.UNREADABLE


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_edges_are_finite(tmp_path: Path, value: str) -> None:
    text = json.dumps(document()).replace("1.5", value)
    assert find(tmp_path, text.encode()).outcome is Outcome.UNREADABLE


def test_statistics_of_another_model_or_signature_are_not_used(tmp_path: Path) -> None:
    content = json.dumps(document()).encode()
    assert find(tmp_path, content, evaluation("sha256:" + "1" * 64)).outcome is Outcome.OTHER_MODEL
    assert find(tmp_path, content, evaluation_record.NOTHING).outcome is Outcome.OTHER_MODEL
    other = find(tmp_path, json.dumps(document(signature="other")).encode())
    assert (other.outcome, "'other'" in other.message) == (Outcome.OTHER_MODEL, True)


def test_a_model_without_the_file_and_one_without_rows_have_none(tmp_path: Path) -> None:
    assert find(tmp_path, None).outcome is Outcome.ABSENT
    assert reference_statistics.find(tmp_path, tmp_path, SIGNATURE, evaluation()).outcome is Outcome.ABSENT
    assert find(tmp_path, json.dumps(document()).encode(), rows=1).outcome is Outcome.UNREADABLE


def test_a_folder_in_place_of_the_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "statistics.json").mkdir()
    found = find(tmp_path, None)
    assert (found.outcome, "can't be read" in found.message) == (Outcome.UNREADABLE, True)
