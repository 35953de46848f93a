"""The figures that `fairlead demo --life` prints, and the conclusions that it draws from them."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from fairlead_cli.demo import asking, changed_inputs, columns, explanations, narration, packages, sampled_rows, variants
from fairlead_runtime.config import Optimization, OptimizeFor
from fairlead_runtime.optimization import record

LABELS = {"model": "digits", "revision": "r"}


def series(feature: str, reference: list[int], sampled: list[list[int]]) -> list[sampled_rows.Series]:
    """What replicas show of a feature; a list for each replica."""
    found: list[sampled_rows.Series] = []
    for replica, counts in enumerate(sampled):
        labels = {**LABELS, "feature": feature, "replica": f"{replica}"}
        for index, (known, rows) in enumerate(zip(reference, counts, strict=True)):
            found.append((sampled_rows.REFERENCE, {**labels, "bin": f"{index:02}"}, known))
            found.append((sampled_rows.SAMPLED, {**labels, "bin": f"{index:02}"}, rows))
    return found


def test_the_rows_of_all_replicas_of_the_revision_are_compared_once_with_the_reference() -> None:
    other = [(name, {**labels, "revision": "old"}, value) for name, labels, value in series("input0_mean", [9], [[9]])]
    found = sampled_rows.collect(
        [*series("input0_mean", [500, 500], [[300, 0], [200, 500]]), *other, ("up", {}, 1.0)],
        model="digits",
        revision="r",
    )
    assert [(each.name, each.rows, each.distance) for each in found] == [("input0_mean", 1000, 0.0)]
    assert not sampled_rows.is_drift(found[0])


def test_inputs_in_other_bins_are_drift_and_scores_are_not_taken_for_inputs() -> None:
    shown = [*series("input0_mean", [500, 500], [[0, 1000]]), *series("score", [500, 500], [[0, 9000]])]
    found = sampled_rows.collect(shown, model="digits", revision="r")
    worst = sampled_rows.find_worst(found)
    assert worst.name == "input0_mean"
    assert sampled_rows.is_drift(worst)
    assert 0.1 < worst.proved < worst.distance == 0.5
    lines = sampled_rows.describe(found).splitlines()
    assert lines[0].split() == ["feature", "sampled", "rows", "distance", "chance", "proved"]
    assert lines[1].split() == [
        "input0_mean",
        "1,000",
        "0.500",
        f"{0.5 - worst.proved:.3f}",
        f"{worst.proved:+.3f}",
        "drift",
    ]


def test_a_feature_without_rows_proves_nothing() -> None:
    (found,) = sampled_rows.collect(series("input0_mean", [5, 5], [[0, 0]]), model="digits", revision="r")
    assert not sampled_rows.is_drift(found)
    assert sampled_rows.describe([found]).splitlines()[1].split() == ["input0_mean", "0", "0.000", "-", "-"]


def variant(name: str, *, size: int, correct: int, change: float) -> record.Variant:
    speeds = tuple(record.Speed(rows=rows, best_s=rows * 1e-5, p50_s=1e-3, p99_s=1e-3) for rows in (1, 32))
    return record.Variant(
        name=name, file=name, digest="", size_bytes=size, rss_bytes=1, start_s=0.1, speeds=speeds, correct=correct,
        score_change=change,
    )  # fmt: skip


def test_the_table_of_variants_shows_what_serves_and_why_the_others_do_not() -> None:
    table = record.Table(
        samples=240,
        most_frequent=24,
        made_s=0,
        variants=(
            variant("Float", size=204_000, correct=233, change=0),
            variant("StaticInt8", size=47_000, correct=233, change=0.04),
            variant("MagnitudePruning70", size=46_000, correct=161, change=0.9),
        ),
        unmade=(record.Unmade(name="Folded", why="it has no loop"),),
        answers="",
    )
    serving, text = variants.describe(table, Optimization(optimize_for=OptimizeFor.SIZE))
    assert serving == "StaticInt8"
    header, *rows = text.splitlines()
    assert header.startswith("variant")
    assert "1 row, µs  32 rows, µs  size, kB  accuracy of 240 samples (95 %)" in header
    assert [row.split()[0] for row in rows] == ["Float", "StaticInt8", "MagnitudePruning70", "Folded"]
    assert rows[0].split()[1:5] == ["10", "320", "204.0", "0.971"]
    assert rows[0].endswith("the float model")
    assert rows[1].endswith("serves")
    assert "accuracy" in rows[2].split("0.900")[1]
    assert rows[3].endswith("it has no loop")


def test_a_node_without_variants_fails_the_demo(tmp_path: pathlib.Path) -> None:
    with pytest.raises(narration.DemoFailed, match="made no variants"):
        variants.read_only(tmp_path)


@pytest.mark.parametrize(("total", "end"), [(0.96, "complete within 1.05%"), (0.5, "47.37% apart")])
def test_an_explanation_is_complete_if_its_parts_add_up(total: float, end: str) -> None:
    row = explanations.Row(target=5, score=0.97, baseline_score=0.02, total=total)
    assert row.is_complete == end.startswith("complete")
    assert explanations.describe(["brighter"], [row]).splitlines()[1].endswith(end)


def test_an_explanation_without_a_difference_is_not_complete() -> None:
    assert not explanations.Row(target=1, score=0.9, baseline_score=0.9, total=0).is_complete


def test_each_image_is_followed_by_its_brighter_copy() -> None:
    given = asking.Heldout(inputs=np.array([[0.0, 0.5], [1.0, 0.9]], np.float32), labels=np.array([3, 7]))
    mixed = changed_inputs.mix(given)
    assert mixed.labels.tolist() == [3, 3, 7, 7]
    np.testing.assert_allclose(mixed.inputs, [[0, 0.5], [0.4, 0.9], [1, 0.9], [1, 1]], atol=1e-6)
    shuffled = changed_inputs.shuffle(mixed, seed=1)
    assert sorted(shuffled.inputs.tolist()) == sorted(mixed.inputs.tolist())


def test_the_explained_image_was_right_and_has_neither_class_of_the_baseline() -> None:
    labels, before, after = (np.array(each) for each in ([1, 2, 3, 4, 5], [1, 9, 3, 4, 5], [2, 2, 1, 4, 6]))
    assert changed_inputs.find_changed_answer(labels, before, after, unlike=1) == 4
    assert changed_inputs.find_changed_answer(labels, before, before, unlike=1) is None


def test_a_manifest_keeps_what_package_printed() -> None:
    printed = {"spec": {"model": {"uri": "u"}, "rollout": {"requireEvaluation": {"min": 0.9}}}}
    packaged = packages.Packaged(manifest=printed, figure="", archive=pathlib.Path("a"), parts=())
    made = packages.compose(packaged, "v2", rollout={"strategy": "Canary"}, cluster={"class": "second"})
    assert made["spec"] == {
        "model": {"uri": "u", "version": "v2"},
        "rollout": {"requireEvaluation": {"min": 0.9}, "strategy": "Canary"},
        "cluster": {"class": "second"},
    }
    assert printed["spec"]["model"] == {"uri": "u"}


def test_columns_are_aligned_and_have_no_spaces_at_the_end() -> None:
    assert columns.align(("a", "size", "why"), [("long", "7", ""), ("b", "12345", "so")]) == "\n".join(
        ("a      size  why", "long      7", "b     12345  so")
    )
